"""The names of a run's metrics, each with what it means and who writes it: writers, console, reports and docs share them.

verl's names where it has one. In a name `{a,b}` stands for each of the words, `<part>` for any word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Writer = Literal["rl", "supervised", "preference", "evaluation"]
"""The rows that have a metric: those of an RL step, those of supervised training and of learning from pairs, those with an evaluation."""

STEP, TIME = "step", "time_s"
SCORE, REWARDS, ADVANTAGES, LENGTH = "critic/score", "critic/rewards", "critic/advantages", "response_length"
"""Each with /mean, /max and /min."""
TOKENS_COMPUTED = "training/computed_tokens"
MEAN_SCORE, MEAN_ADVANTAGE, MEAN_LENGTH = f"{SCORE}/mean", f"{ADVANTAGES}/mean", f"{LENGTH}/mean"
CUT = f"{LENGTH}/clip_ratio"
FAILED = "reward/failed"
MISSING, MALFORMED, NOOP, NOOP_RIGHT = "reward/missing", "reward/malformed_frac", "reward/noop_frac", "reward/noop_em/mean"
NEGATIVE, Q_MINUS_MEAN, WIDTH = "group/negative_adv_frac", "group/q_minus_mean", "group/hdi_width"
NORMAL, LEFT, RIGHT, SYMMETRIC = (f"group/{shape}_frac" for shape in ("normal", "left", "right", "symmetric"))
ZERO_SPREAD = "group/zero_std_frac"
SHAPES = {"normal": NORMAL, "left": LEFT, "right": RIGHT, "symmetric": SYMMETRIC, "zero": ZERO_SPREAD}
"""The share of each shape in `gapo_cli.statistics.reward_shapes`."""
NO_SHAPE = "group/no_shape"
GENERATED, DROPPED, WAITING, ROUNDS = "group/generated", "group/dropped", "group/waiting", "group/rounds"
CLIPPED, ENTROPY, KL_LOSS, GRADIENT_NORM = "actor/pg_clipfrac", "actor/entropy", "actor/kl_loss", "actor/grad_norm"
COMPUTED = "actor/computed_tokens_frac"
VALUE_LOSS, VALUE_CLIPPED, VALUE_PREDICTED = "critic/vf_loss", "critic/vf_clipfrac", "critic/vpred_mean"
VALUES, RETURNS, EXPLAINED = "critic/values", "critic/returns", "critic/vf_explained_var"
CRITIC_NORM, CRITIC_RATE, REWARD_KL = "critic/grad_norm", "critic/lr", "actor/reward_kl_penalty"
SUPERVISED_LOSS, SUPERVISED_TOKENS = "sft/loss", "sft/tokens"
PREFERENCE_LOSS, PREFERENCE_ACCURACY, PREFERENCE_MARGIN = "dpo/loss", "dpo/accuracy", "dpo/margin"
PREFERENCE_CHOSEN, PREFERENCE_REJECTED = "dpo/chosen_logprobs", "dpo/rejected_logprobs"
GREEDY, SAMPLED = "val/", "val/sampled/"
"""How the metrics of an evaluation's greedy and sampled answers begin."""
GREEDY_EXACT, SAMPLED_EXACT = f"{GREEDY}exact_match", f"{SAMPLED}exact_match"
SECONDS, PERFORMANCE = "timing_s/", "perf/"
STEP_SECONDS, CHECKPOINT_SECONDS = f"{SECONDS}step", f"{SECONDS}checkpoint"
CLOCKS = (TIME, SECONDS, PERFORMANCE)
"""How the metrics begin that are read off a clock: no two runs have the same, resumed or not."""


def component(name: str) -> str:
    """The mean of one component of the reward."""
    return f"reward/{name}/mean"


@dataclass(frozen=True)
class Metric:
    """One metric, or several alike. `title`: its heading where it is shown; `meaning`: what the number is, with its unit."""

    name: str
    title: str
    meaning: str
    writers: tuple[Writer, ...]

    def covers(self, name: str) -> bool:
        pattern = re.escape(self.name).replace(r"\{", "(").replace(r"\}", ")").replace(",", "|")
        return re.fullmatch(re.sub(r"<\w+>", r"\\w+", pattern), name) is not None


RL, SUPERVISED, PREFERENCE, EVALUATION = ("rl",), ("supervised",), ("preference",), ("evaluation",)
LEARNERS = ("rl", "supervised", "preference")
ANY = (*LEARNERS, "evaluation")
METRICS = (
    Metric(STEP, "Step", "rollout batches learnt from so far (supervised, preference: optimizer steps)", ANY),
    Metric(TIME, "Time", "seconds since the run began, those before a resume included", ANY),
    Metric("critic/score/{mean,max,min}", "Reward", "score of the batch that is learnt from, before the length penalty", RL),
    Metric("critic/rewards/{mean,max,min}", "Reward after the penalty", "the same after the length penalty", RL),
    Metric("critic/advantages/{mean,max,min}", "Advantage", "of the batch; the mean counts an answer once a token, as in verl", RL),
    Metric("response_length/{mean,max,min}", "Answer length", "tokens of the answers in the batch, end token included", RL),
    Metric(CUT, "Cut answers", "share of the answers in the batch that the token limit cut", RL),
    Metric(NOOP_RIGHT, "Exact match by no-op", "exact match that no-op answers earn, over all answers of the step", RL),
    Metric("reward/<component>/mean", "Reward component", "mean over all answers sampled in the step; reward=edem has em, ed and score", RL),
    Metric(MISSING, "Missing rewards", "how many of all rewards of the step are NaN", RL),
    Metric(FAILED, "Failed rewards", "how many of the missing ones are missing because the reward failed; only with reward.on_error=missing", RL),
    Metric(MALFORMED, "Malformed answers", "share of all answers of the step that stand for no region", RL),
    Metric(NOOP, "No-op answers", "share of all answers of the step that leave the region as it stands", RL),
    Metric(NEGATIVE, "Negative advantages", "share of the answers in the batch whose advantage is below 0", RL),
    Metric(Q_MINUS_MEAN, "Q - mean", "the estimator's baseline minus the mean reward of its group, mean over groups", RL),
    Metric(WIDTH, "Interval width", "of the densest interval, mean over groups; only for estimators that have one", RL),
    Metric("group/{normal,left,right,symmetric}_frac", "Reward shapes", "share of the groups sampled in the step, of those with two rewards or more, whose rewards have that shape", RL),
    Metric(ZERO_SPREAD, "Groups without spread", "the same, whose rewards are all equal", RL),
    Metric(NO_SHAPE, "Groups without a shape", "how many groups sampled in the step have fewer than two rewards and are in no share of shapes", RL),
    Metric("group/{generated,dropped}", "Groups sampled and dropped", "groups sampled in the step; those of them that dynamic sampling dropped", RL),
    Metric(WAITING, "Groups waiting", "groups sampled already that wait for the next step", RL),
    Metric(ROUNDS, "Rounds", "rounds of sampling until the batch was full", RL),
    Metric("actor/pg_loss", "Policy loss", "clipped policy loss, without its terms", RL),
    Metric(COMPUTED, "Computed tokens", "share of the answer tokens that a pass was made for", RL),
    Metric("actor/pg_clipfrac{,_lower}", "Clip fraction", "share of all answer tokens, with a pass or without, whose ratio was clipped; _lower: by the dual clip", RL),
    Metric("actor/ppo_kl", "KL to the old policy", "mean of old minus new log-probability, nats a token, over the tokens that a pass was made for", RL),
    Metric(ENTROPY, "Entropy", "of the policy, nats a token, over the tokens that a pass was made for", RL),
    Metric(KL_LOSS, "KL to the starting model", "low-variance estimate, nats a token, over all answer tokens, because each has a pass then; only where it is part of the loss", RL),
    Metric("actor/jacobian_loss", "Change with the prompt", "KL of the answer's distributions under a small step on the prompt's embeddings, by the step's squared length, nats a token; only where it is part of the loss", RL),
    Metric("actor/smoothness_loss", "KL to the policy before the batch", "over the whole vocabulary, nats a token, mean over the step's optimizer steps, of which the first has none; only where it is part of the loss", RL),
    Metric(GRADIENT_NORM, "Gradient norm", "before clipping, mean over the step's optimizer steps", LEARNERS),
    Metric("actor/lr", "Learning rate", "of the last optimizer step", LEARNERS),
    Metric("{actor,sft}/skipped_steps", "Skipped steps", "optimizer steps without a finite loss and gradient (supervised: since the start)", LEARNERS),
    Metric(VALUE_LOSS, "Value loss", "half the squared error of the critic's values, clipped; mean over the step's optimizer steps; only with a critic", RL),
    Metric(EXPLAINED, "Explained variance", "1 - Var(return - value) / Var(return) over the tokens of the batch, of the values before the update: 1 is right, 0 no better than a constant; only with a critic", RL),
    Metric(VALUE_CLIPPED, "Value clip fraction", "share of the tokens whose value was held back by the clip; only with a critic", RL),
    Metric(VALUE_PREDICTED, "Value in the update", "mean over the tokens of the step's optimizer steps; only with a critic", RL),
    Metric("critic/{values,returns}/{mean,max,min}", "Values and returns", "of the tokens of the batch, before the update; only with a critic", RL),
    Metric("critic/{grad_norm,lr}", "Critic's gradient norm and learning rate", "as actor/grad_norm and actor/lr; only with a critic", RL),
    Metric(REWARD_KL, "KL in the reward", "mean log-probability above the starting model's, nats a token; only with algorithm.ppo.kl_in_reward", RL),
    Metric(TOKENS_COMPUTED, "Computed tokens since the start", "tokens of all passes so far: sampled, read, compared or valued once, learnt from three times; evaluations are not counted", LEARNERS),
    Metric("training/rollout_logprobs_diff_{mean,max}", "Engine against trainer", "|difference| of log-probabilities of a few fresh answers, nats", RL),
    Metric("training/rollout_probs_diff_{mean,max,std}", "Engine against trainer, probabilities", "|difference| over the tokens of the update, as in verl", RL),
    Metric("training/rollout_k3", "Engine against trainer, KL", "k3 estimate of KL(engine, trainer), nats a token", RL),
    Metric(SUPERVISED_LOSS, "Training loss", "cross-entropy of the answers, nats a token, mean since the last row", SUPERVISED),
    Metric(SUPERVISED_TOKENS, "Tokens", "of prompts and answers learnt from so far", SUPERVISED),
    Metric(PREFERENCE_LOSS, "Preference loss", "mean over the pairs of the batch, the supervised term included", PREFERENCE),
    Metric(PREFERENCE_ACCURACY, "Pairs told apart", "share of the pairs whose reward margin is above 0: before the first step none is", PREFERENCE),
    Metric(PREFERENCE_MARGIN, "Reward margin", "beta times what the better answer gained on the worse one since the start, nats, mean over pairs", PREFERENCE),
    Metric(PREFERENCE_CHOSEN, "Better answers", "log-probability of a better answer, nats, mean over pairs; falling with the worse ones is DPO's known failure", PREFERENCE),
    Metric(PREFERENCE_REJECTED, "Worse answers", "log-probability of a worse answer, nats, mean over pairs", PREFERENCE),
    Metric("dpo/pairs", "Pairs", "learnt from so far, each once an epoch", PREFERENCE),
    Metric("val/{,sampled/}exact_match{,_low,_high}", "Exact match on held-out tasks", "share of the answers that equal the target, stripped, with its 95 % interval; sampled: mean over each task's samples", EVALUATION),
    Metric("val/{,sampled/}<measure>", "Other measures of held-out tasks", "each is defined in docs/reference/evaluation-metrics.md", EVALUATION),
    Metric("val/sampled/pass@<k>", "Pass at k", "chance that one of k sampled answers is right", EVALUATION),
    Metric("timing_s/{gen,reward,adv,update_actor,step}", "Time a step", "seconds of sampling, scoring, estimating, learning, and of the whole step", RL),
    Metric("timing_s/testing", "Time of an evaluation", "seconds", EVALUATION),
    Metric(CHECKPOINT_SECONDS, "Time of a checkpoint", "seconds that the checkpoint took which was saved after the row before", LEARNERS),
    Metric("perf/throughput", "Throughput", "tokens a second, a prompt counted once for each of its answers (supervised, preference: of all batches)", LEARNERS),
)  # fmt: skip


def find(name: str) -> Metric:
    """The first definition that covers a name. Raises KeyError where there is none."""
    for metric in METRICS:
        if metric.covers(name):
            return metric
    raise KeyError(name)


def reference() -> str:
    """docs/reference/metrics.md: every metric, in the order of METRICS, as markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The metrics of a run"
    yield ""
    yield "Made from `gapo_cli/metric_names.py`. `metrics.jsonl` has one row a step, and a row has the metrics of what was done in that step."
    yield "In a name `{a,b}` stands for each of the words, `<part>` for any word. How evaluations measure is in [evaluation metrics](evaluation-metrics.md)."
    yield ""
    yield "| metric | | what it is | rows |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        rows = "all" if metric.writers == ANY else ", ".join(metric.writers)
        yield f"| `{metric.name}` | {metric.title} | {metric.meaning.replace('|', '&#124;')} | {rows} |"
