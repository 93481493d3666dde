"""Seeds of prompts and completions: all different, always the same."""

from gapo_cli.seeds import derived_seed


def test_seeds_of_prompts_and_of_their_completions_differ():
    prompts = {derived_seed(0, step, index) for step in range(20) for index in range(50)}
    assert len(prompts) == 1000
    assert len({derived_seed(prompt, place) for prompt in sorted(prompts)[:20] for place in range(8)}) == 160
    assert all(0 <= seed < 2**63 for seed in prompts)


def test_a_seed_depends_on_its_parts_alone():
    # written down once: runs of yesterday must draw the same
    assert derived_seed(0, 3, 4) == 486_523_371_622_536_507
    assert derived_seed(1, 3, 4) != derived_seed(0, 3, 4) != derived_seed(0, 4, 3)
