"""What ranks tell each other: shares, sums, agreement, and what becomes of those that wait for one that is gone."""

import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranks_parts import on_ranks

from gapo_cli.errors import UserError
from gapo_cli.processes.ranks import ALONE, LostRank, Ranks


class Of(Ranks):
    def __init__(self, rank, count):
        super().__init__()
        self.rank, self.count = rank, count


def test_the_largest_piece_goes_first_and_each_to_the_rank_that_has_least():
    # 9 to rank 0, 7 to rank 1, 6 to rank 1 (7 < 9), 5 to rank 0 (9 < 13), 1 to rank 1 (13 < 14)
    assert Of(0, 2).owners([5, 9, 1, 7, 6]) == [0, 0, 1, 1, 1]
    assert Of(1, 2).mine([5, 9, 1, 7, 6]) == [False, False, True, True, True]


def test_of_fewer_pieces_than_ranks_some_have_nothing_to_do():
    assert Of(2, 3).mine([4, 4]) == [False, False]
    assert Of(0, 3).owners([]) == []


@given(st.lists(st.integers(1, 100), max_size=20), st.integers(1, 5))
def test_every_piece_has_one_owner_and_no_rank_has_more_than_its_share_and_the_largest_piece(sizes, count):
    owners = Of(0, count).owners(sizes)
    assert all(0 <= owner < count for owner in owners)
    loads = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == rank) for rank in range(count)]
    assert max(loads) <= sum(sizes) / count + max(sizes, default=0)


def test_a_process_alone_does_all_itself():
    tensor = torch.ones(2)
    ALONE.add([tensor])
    assert tensor.tolist() == [1, 1]
    assert ALONE.mine([3, 1]) == [True, True]
    assert (ALONE.gather(7), ALONE.total(7), ALONE.sums({"a": 1})) == ([7], 7, {"a": 1})
    assert (ALONE.together(lambda: 7), ALONE.from_first(lambda: 7), ALONE.all_agree(False)) == (7, 7, False)
    with pytest.raises(UserError, match="own"):
        ALONE.together(lambda: fails("own"))


def fails(sentence):
    raise UserError(sentence)


@pytest.mark.slow
def test_ranks_add_gather_and_agree(tmp_path):
    def work(ranks):
        one, other = torch.full((2, 2), float(ranks.rank + 1)), torch.full((3,), 10.0**ranks.rank, dtype=torch.float64)
        ranks.add([one, other])
        return {
            "added": (one.tolist(), other.tolist()),
            "gathered": ranks.gather(ranks.rank * 2),
            "total": ranks.total(ranks.rank + 0.5),
            # rank 1 has no "b"
            "sums": ranks.sums({"a": 1, "b": torch.tensor(2.0)} if ranks.rank != 1 else {"a": 5}),
            "all": (ranks.all_agree(True), ranks.all_agree(ranks.rank != 2)),
            "first": ranks.from_first(lambda: os.getpid()),
        }

    found = on_ranks(3, work, tmp_path)
    # 1 + 2 + 3; 1 + 10 + 100
    assert found[0]["added"] == ([[6, 6], [6, 6]], [111, 111, 111])
    assert found[0]["gathered"] == [0, 2, 4]
    assert found[0]["total"] == 4.5
    assert found[0]["sums"] == {"a": 7, "b": 4}
    assert found[0]["all"] == (True, False)
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_what_fails_on_one_rank_fails_on_all_with_its_sentence(tmp_path):
    def work(ranks):
        said = []
        for part in (
            lambda: ranks.together(lambda: fails("bad") if ranks.rank == 1 else ranks.rank),
            lambda: ranks.together(lambda: fails(f"bad {ranks.rank}")),
            lambda: ranks.from_first(lambda: fails("worse")),
            lambda: ranks.together(lambda: [].pop() if ranks.rank == 1 else None),
        ):
            with pytest.raises((UserError, IndexError)) as raised:
                part()
            said.append((raised.type.__name__, str(raised.value)))
        return [*said, ranks.together(lambda: ranks.rank)]

    first, second = on_ranks(2, work, tmp_path)
    index = "pop from empty list"
    assert first == [
        ("UserError", "rank 1: bad"),
        ("UserError", "bad 0"),
        ("UserError", "worse"),
        ("IndexError", f"rank 1: {index}"),
        0,
    ]
    assert second == [("UserError", "bad"), ("UserError", "bad 0"), ("UserError", "worse"), ("IndexError", index), 1]


@pytest.mark.slow
def test_a_rank_that_was_killed_is_named_by_those_that_wait_for_it(tmp_path):
    def work(ranks):
        pid = ranks.gather(os.getpid())[1]
        if ranks.rank == 1:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(LostRank) as raised:
            ranks.all_agree(True)
        return pid, str(raised.value)

    found = on_ranks(3, work, tmp_path)
    assert found[1] == -signal.SIGKILL
    for rank in (0, 2):
        pid, sentence = found[rank]
        assert sentence.startswith(f"rank 1 (process {pid} on ") and sentence.endswith(") was killed")


def test_a_rank_that_fails_alone_leaves_word_why(tmp_path):
    def work(ranks):
        return fails("no room") if ranks.rank == 1 else ranks.all_agree(True)

    first, second = on_ranks(2, work, tmp_path)
    assert (type(first), str(first)) == (LostRank, "rank 1: no room")
    assert (type(second), str(second)) == (UserError, "no room")


@pytest.mark.slow
def test_ranks_that_fail_alike_meet_and_one_that_fails_alone_does_not(tmp_path, monkeypatch):
    from datetime import timedelta

    from gapo_cli.processes import group

    monkeypatch.setattr(group, "MEETING", timedelta(seconds=0.5))
    found = on_ranks(2, lambda ranks: (ranks.meet("a"), ranks.rank == 0 and ranks.meet("b"), ranks.all_agree(True)), tmp_path)
    assert found == [(True, False, True), (True, False, True)]


def test_work_that_ranks_wait_in_fails_where_it_fails_and_ends_the_others(tmp_path):
    def work(ranks):
        def waits():
            if ranks.rank == 1:
                raise UserError("too little memory")
            torch.distributed.all_reduce(torch.ones(1))

        ranks.together(waits, waiting=True)

    first, second = on_ranks(2, work, tmp_path)
    assert isinstance(first, LostRank) and str(first) == "rank 1: too little memory"
    assert isinstance(second, UserError) and str(second) == "too little memory"
