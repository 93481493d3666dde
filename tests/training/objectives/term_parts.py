"""What the tests of terms share: groups of random tokens and what a term is called with for them."""

import numpy as np
import torch

from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.training.objectives.terms import ComputedTokens

GROUPS = 3
COMPLETIONS = 2


def random_tokens(seed=0, groups=GROUPS):
    random = np.random.default_rng(seed)
    prompts = [tuple(map(int, random.integers(2, 250, length))) for length in random.integers(4, 9, groups)]
    completions = [
        tuple(tuple(map(int, random.integers(1, 250, length))) for length in random.integers(1, 6, COMPLETIONS))
        for _ in prompts
    ]
    return prompts, completions


def computed(policy, prompts, completions, layout="packed", temperature=1.0):
    """The tokens of a pass of the policy, as an update would hand them to a term."""
    batch = LAY_OUT[layout](prompts, completions, policy.pad_token_id)
    found = completion_logprobs(policy.model, batch, temperature)
    nothing = torch.zeros_like(found.logprobs)
    return ComputedTokens(
        logprobs=found.logprobs, logprobs_old=found.logprobs.detach(), logprobs_ref=None, entropy=nothing, advantages=nothing,
        weights=torch.full_like(nothing, 1 / len(nothing)), states=found.states, batch=batch, prompts=tuple(prompts),
        completions=tuple(completions), layout=layout, policy=policy, reference=None, temperature=temperature,
    )  # fmt: skip


def logits_of(model, prompt, completion, added=None):
    """The plain way: one row, the whole model; logits (tokens of the completion, vocabulary)."""
    ids = torch.tensor([[*prompt, *completion]])
    embeddings = model.get_input_embeddings()(ids)
    if added is not None:
        embeddings = embeddings + torch.nn.functional.pad(added, (0, 0, 0, len(completion)))[None]
    logits = model(inputs_embeds=embeddings, use_cache=False).logits[0]
    return logits[len(prompt) - 1 : -1]


def flat_gradient(policy, loss):
    policy.model.zero_grad()
    loss.backward()
    return torch.cat([one.grad.flatten().clone() for one in policy.model.parameters() if one.grad is not None])
