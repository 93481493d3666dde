"""Sampling: what becomes of completions."""

from parts import ScriptedEngine, completion_of, edit_task

from gapo_cli.rollouts.sampling import sample
from gapo_cli.seeds import derived_seed


def test_sample_reads_regions_and_says_what_is_malformed(tiny_policy, template, sampling):
    engine = ScriptedEngine([["a = c", "what?"]])
    (one,) = sample(tiny_policy, engine, template, [edit_task(0)], sampling, [7])
    assert [completion.region for completion in one.completions] == ["a = c", None, "a = c", None]
    assert [completion.malformed for completion in one.completions] == [None, "question", None, "question"]
    prompts, used, seeds = engine.calls[0]
    assert tiny_policy.tokenizer.decode(prompts[0]) == "x = 0\na = b\n>"
    assert (used, seeds) == (sampling, [7])


def test_a_completion_that_the_limit_cut_is_truncated_whatever_its_text(tiny_policy, template, sampling):
    class Cutting(ScriptedEngine):
        def generate(self, prompts, sampling, seeds, progress=None):
            return [(completion_of("a = c", finish_reason="length"),) * sampling.group_size for _ in prompts]

    (one,) = sample(tiny_policy, Cutting([]), template, [edit_task(0)], sampling, [7])
    assert {(completion.region, completion.malformed) for completion in one.completions} == {(None, "truncated")}


def test_seeds_of_prompts_differ_and_repeat():
    seeds = {derived_seed(0, step, index) for step in range(20) for index in range(50)}
    assert len(seeds) == 1000
    assert derived_seed(0, 3, 4) == derived_seed(0, 3, 4)
    assert derived_seed(1, 3, 4) != derived_seed(0, 3, 4)
    assert all(0 <= seed < 2**63 for seed in seeds)
