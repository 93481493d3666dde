"""An engine that several ranks share: every prompt is answered once, by its owner, and all get all answers in their order."""

import pytest
from parts import ScriptedEngine, completion_of
from ranks_parts import on_ranks

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.divided import divided
from gapo_cli.errors import UserError
from gapo_cli.interfaces import SleepingEngine
from gapo_cli.processes.ranks import ALONE

SAMPLING = SamplingConfig(group_size=2, max_new_tokens=4)


class Echo(ScriptedEngine):
    """Says the seed that it was asked with."""

    shares_weights = True

    def generate(self, prompts, sampling, seeds, progress=None):
        self.calls.append((list(prompts), sampling, list(seeds)))
        return [(completion_of(str(seed)),) * sampling.group_size for seed in seeds]


class Sleepy(Echo):
    def sleep(self): ...


def test_a_process_alone_has_its_engine_itself():
    engine = Echo([])
    assert divided(engine, ALONE) is engine


@pytest.mark.slow
def test_each_rank_answers_its_share_and_gets_all(tmp_path):
    def work(ranks):
        own = Echo([])
        engine = divided(own, ranks)
        found = engine.generate([(1,) * 9, (2,) * 2, (3,) * 5], SAMPLING, [10, 20, 30])
        asked = [prompt[0] for prompt in own.calls[0][0]]
        return [group[0].text for group in found], asked, sorted(one[0] for one in engine.answered), engine.shares_weights

    found = on_ranks(2, work, tmp_path)
    # by prompt and limit: 13, 6 and 9 tokens; the longest to rank 0, the others to rank 1
    assert found[0] == (["10", "20", "30"], [1], [1], True)
    assert found[1] == (["10", "20", "30"], [2, 3], [2, 3], True)


@pytest.mark.slow
def test_a_rank_without_a_prompt_does_not_ask_its_engine(tmp_path):
    def work(ranks):
        own = Echo([])
        return [group[0].text for group in divided(own, ranks).generate([(1,)], SAMPLING, [7])], len(own.calls)

    assert on_ranks(2, work, tmp_path) == [(["7"], 1), (["7"], 0)]


@pytest.mark.slow
def test_an_engine_that_fails_on_one_rank_fails_on_all(tmp_path):
    class Failing(Echo):
        def generate(self, prompts, sampling, seeds, progress=None):
            raise UserError("the server is gone")

    def work(ranks):
        with pytest.raises(UserError) as raised:
            divided(Failing([]) if ranks.rank == 1 else Echo([]), ranks).generate([(1,), (2,)], SAMPLING, [1, 2])
        return str(raised.value)

    first, second = on_ranks(2, work, tmp_path)
    assert first == f"rank 1: {second}"
    assert second.startswith("engine=Failing: the server is gone (at ")


@pytest.mark.slow
def test_only_an_engine_that_can_sleep_is_told_to(tmp_path):
    def work(ranks):
        return [isinstance(divided(engine([]), ranks), SleepingEngine) for engine in (Echo, Sleepy)]

    assert on_ranks(2, work, tmp_path) == [[False, True]] * 2
