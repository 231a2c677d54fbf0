"""Who holds what, the states of a label, and the figures of agreement: without a server."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from lib.bundles import Bundle, Code, Segment
from lib.errors import (
    HeldError,
    NotAllowedError,
    NotThereError,
    OwnLabelError,
    WrongStateError,
)
from lib.people.drawings import Drawing, newest_of_each, the_label
from lib.people.holds import HOURS, How
from lib.people.ledger import Ledger
from lib.people.proposals import Proposal, Proposals
from lib.people.reviews import State
from lib.people.team import Team, open_team
from lib.scoring.agreement import compare
from lib.scoring.consensus import staple
from lib.stores.volume import write_nifti

SPACING = (2.0, 1.0, 3.0)
CODE = Code("1", "99TEST", "thing")


def segment(value: int) -> Segment:
    return Segment(value, value, f"segment {value}", CODE, CODE, None, (50.0, 0.0, 0.0))


def cuboid(*ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((24, 24, 24), bool)
    mask[tuple(slice(*each) for each in ranges)] = True
    return mask


@pytest.fixture
def team(tmp_path, clock) -> Team:
    return open_team(tmp_path, "studies", has_users=True, clock=clock)


class TestHolds:
    def test_what_is_with_one_is_offered_to_nobody_else(self, team):
        assert team.holds.offer("a", "ann")
        assert not team.holds.offer("a", "bob")
        assert team.holds.first_for("bob", ["a", "b"], lambda: ["a", "b"]) == ["b"]
        assert team.holds.first_for("ann", ["a", "b"], lambda: ["a", "b"]) == ["a", "b"]

    def test_nothing_is_left_once_all_is_with_others(self, team):
        team.holds.take("a", "ann")
        assert team.holds.first_for("bob", ["a"], lambda: ["a"]) == []

    def test_what_was_assigned_comes_first_even_if_it_has_a_label(self, team):
        """Of another reader, whose label it is to be compared with."""
        team.holds.assign("drawn", "bob", "rev")
        assert team.holds.first_for("bob", ["a"], lambda: ["a", "drawn"]) == ["drawn"]

    @pytest.mark.parametrize("how", list(How))
    def test_a_hold_ends_at_its_time(self, team, clock, how):
        give = {
            How.OFFERED: lambda: team.holds.offer("a", "ann"),
            How.TAKEN: lambda: team.holds.take("a", "ann"),
            How.ASSIGNED: lambda: team.holds.assign("a", "ann", "rev"),
        }
        give[how]()
        clock.advance(HOURS[how] * 3600 - 1)
        with pytest.raises(HeldError, match=r"ann since .* until"):
            team.holds.check("a", "bob")
        clock.advance(1)
        team.holds.check("a", "bob")
        assert team.holds.all() == []

    def test_work_on_an_image_renews_its_hold_and_never_shortens_it(self, team, clock):
        team.holds.offer("a", "ann")
        team.holds.assign("b", "ann", "rev", hours=50)
        clock.advance(1000)
        before = {each.image: each.until for each in team.holds.all()}
        for image in ("a", "b", "c"):
            team.holds.renew(image, "ann")
        after = {each.image: each.until for each in team.holds.all()}
        assert after == {"a": before["a"] + 1000, "b": before["b"]}

    def test_two_to_whom_it_was_assigned_may_both_save(self, team):
        team.holds.assign("a", "ann", "rev")
        team.holds.assign("a", "bob", "rev")
        team.holds.check("a", "ann")
        team.holds.check("a", "bob")
        with pytest.raises(HeldError, match=r"ann since .*; bob since"):
            team.holds.check("a", "cem")
        with pytest.raises(HeldError):
            team.holds.take("a", "cem")

    def test_what_nobody_has_cannot_be_released(self, team):
        with pytest.raises(NotThereError, match="a is not with ann"):
            team.holds.release("a", "ann")

    def test_of_many_who_take_one_image_at_once_one_has_it(self, team):
        won: list[str] = []
        ready = threading.Barrier(8)

        def take(name: str) -> None:
            ready.wait()
            if team.holds.offer("a", name):
                won.append(name)

        threads = [threading.Thread(target=take, args=(f"reader {n}",)) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        [hold] = team.holds.all()
        assert won == [hold.reader]


class TestReviews:
    def review(self, team: Team, state: State, by: str, reason: str = "") -> None:
        team.reviews.review("l", "a", State.CORRECTED, {"ann"}, state, by, reason)

    def test_every_step_is_kept_with_who_and_when(self, team, clock, tmp_path):
        team.reviews.saved("l", "a", "ann")
        clock.advance(60)
        self.review(team, State.APPROVED, "rev")
        clock.advance(60)
        self.review(team, State.RETURNED, "bob", " the tail is missing ")
        again = open_team(tmp_path, "studies", has_users=True, clock=clock)
        steps = again.reviews.steps_of("l")
        assert [(each.state, each.by, each.reason) for each in steps] == [
            ("corrected", "ann", ""),
            ("approved", "rev", ""),
            ("returned", "bob", "the tail is missing"),
        ]
        assert [each.at - steps[0].at for each in steps] == [0, 60, 120]

    @pytest.mark.parametrize(
        ("first", "before", "then", "said"),
        [
            (State.PROPOSED, [], State.APPROVED, "is proposed, not to be approved"),
            (State.PROPOSED, [], State.RETURNED, "is proposed, not to be returned"),
            (State.CORRECTED, [State.APPROVED], State.APPROVED, "is approved, not to be approved"),
            (State.CORRECTED, [State.RETURNED], State.APPROVED, "is returned, not to be approved"),
            (State.CORRECTED, [State.RETURNED], State.RETURNED, "is returned, not to be returned"),
            (State.CORRECTED, [], State.PROPOSED, "is corrected, not to be proposed"),
        ],
    )
    def test_a_step_that_is_not_one_is_refused_with_the_state(
        self, team, first, before, then, said
    ):
        for each in before:
            team.reviews.review("l", "a", first, {"ann"}, each, "rev", "why")
        with pytest.raises(WrongStateError, match=said):
            team.reviews.review("l", "a", first, {"ann"}, then, "rev", "why")

    def test_nobody_approves_what_he_drew_himself(self, team):
        with pytest.raises(OwnLabelError, match="ann has drawn it"):
            self.review(team, State.APPROVED, "ann")
        self.review(team, State.RETURNED, "ann", "I was wrong")

    def test_without_users_there_is_nobody_else(self, tmp_path, clock):
        team = open_team(tmp_path, "other", has_users=False, clock=clock)
        self.review(team, State.APPROVED, "ann")
        assert team.reviews.last()["l"].state == State.APPROVED

    def test_a_return_says_why(self, team):
        with pytest.raises(NotAllowedError, match="without a reason"):
            self.review(team, State.RETURNED, "rev", "  ")


class TestTheLabel:
    def drawing(self, name: str, who: str = "ann", **how: bool) -> Drawing:
        return Drawing(name, "a", "tiny", who, "", **how)

    def chosen(self, team: Team, *drawings: Drawing) -> str | None:
        found = the_label(drawings, team.reviews.last())
        return found.id if found else None

    def say(self, team: Team, label: str, state: State) -> None:
        team.reviews.review(label, "a", State.CORRECTED, (), state, "rev", "why")

    def test_the_newest_corrected_then_a_consensus_then_the_approved_one(self, team):
        proposal = self.drawing("p", is_proposal=True)
        first, second = self.drawing("1"), self.drawing("2", "bob")
        agreed = self.drawing("c", "rev", is_consensus=True)
        assert self.chosen(team, proposal) is None
        assert self.chosen(team, first, second, proposal) == "2"
        assert self.chosen(team, agreed, first, second) == "c"
        self.say(team, "1", State.APPROVED)
        assert self.chosen(team, agreed, first, second) == "1"
        self.say(team, "2", State.APPROVED)
        assert self.chosen(team, agreed, first, second) == "2"
        for each in ("1", "2", "c"):
            self.say(team, each, State.RETURNED)
        assert self.chosen(team, agreed, first, second) is None

    def test_of_each_reader_the_newest_that_stands_is_compared(self, team):
        older, newer = self.drawing("1"), self.drawing("2")
        others = [self.drawing("b", "bob"), self.drawing("p", "net", is_proposal=True)]
        self.say(team, "2", State.RETURNED)
        found = newest_of_each([older, newer, *others], team.reviews.last())
        assert [each.id for each in found] == ["1", "b"]


class TestAgreement:
    def test_a_cuboid_that_moved_along_one_axis(self):
        """8 x 8 x 8 voxels of 6 mm³, moved by 2 voxels of 2 mm, then by one of 3 mm."""
        first = cuboid((8, 16), (8, 16), (8, 16))
        moved = compare(first, cuboid((10, 18), (8, 16), (8, 16)), SPACING)
        assert moved.dice == pytest.approx(2 * 6 * 64 / (2 * 512))
        assert moved.hd95_mm == pytest.approx(4.0)
        assert moved.first_ml == moved.second_ml == pytest.approx(512 * 6 / 1000)
        assert moved.changed_ml == pytest.approx(2 * 2 * 64 * 6 / 1000)
        along = compare(first, cuboid((8, 16), (8, 16), (9, 17)), SPACING)
        assert along.hd95_mm == pytest.approx(3.0)

    def test_the_mean_distance_of_two_planes_is_their_distance(self):
        first, second = cuboid((0, 24), (0, 24), (5, 6)), cuboid((0, 24), (0, 24), (9, 10))
        apart = compare(first, second, SPACING)
        assert (apart.mean_surface_mm, apart.hd95_mm) == pytest.approx((12.0, 12.0))
        assert apart.dice == 0.0

    def test_the_same_mask_is_at_no_distance(self):
        mask = cuboid((3, 9), (3, 9), (3, 9))
        same = compare(mask, mask, SPACING)
        assert (same.dice, same.mean_surface_mm, same.hd95_mm) == (1.0, 0.0, 0.0)

    def test_an_empty_mask_has_no_surface(self):
        empty, full = cuboid((0, 0), (0, 0), (0, 0)), cuboid((3, 9), (3, 9), (3, 9))
        one = compare(empty, full, SPACING)
        assert (one.dice, one.mean_surface_mm, one.hd95_mm) == (0.0, None, None)
        assert one.changed_ml == pytest.approx(216 * 6 / 1000)
        assert compare(empty, empty, SPACING).dice == 1.0


class TestConsensus:
    def test_of_three_readers_the_two_that_agree_win(self):
        """Each segment by itself; the third reader's figures are arithmetic."""
        truth = np.zeros((24, 24, 24), np.uint8)
        truth[6:12, 6:12, 6:12], truth[12:16, 6:12, 6:12] = 1, 2
        wrong = truth.copy()
        wrong[10:12, 6:12, 6:12] = 2
        found = staple([truth, truth, wrong], [segment(1), segment(2)])
        assert np.array_equal(found.labelmap, truth)
        [good, _, poor] = found.performance["segment 1"]
        assert good.sensitivity == pytest.approx(1.0, abs=1e-3)
        assert poor.sensitivity == pytest.approx(4 / 6, abs=1e-3)
        # Of the voxels in the box that are not segment 2, 72 are said to be.
        outside = 20 * 16 * 16 - 144
        assert found.performance["segment 2"][2].specificity == pytest.approx(
            1 - 72 / outside, abs=1e-3
        )

    def test_what_nobody_has_drawn_is_empty(self):
        labels = [np.zeros((9, 9, 9), np.uint8) for _ in range(2)]
        found = staple(labels, [segment(1)])
        assert not found.labelmap.any()
        assert [each.sensitivity for each in found.performance["segment 1"]] == [None, None]


class TestProposals:
    def keep(self, proposals: Proposals, folder: Path, image: str, value: int) -> Proposal | str:
        bundle = Bundle(folder / "net", "", "1.0", (segment(1),))
        for name, content in (("image", 0), ("mask", value)):
            array = np.full((4, 4, 4), content, np.uint8)
            write_nifti(array, np.eye(4), folder / f"{name}.nii.gz")
        mask = folder / "mask.nii.gz"
        proposals.keep(image, folder / "image.nii.gz", "ann", bundle, mask)
        return proposals.of(image, "ann", bundle)

    def test_the_oldest_give_way(self, tmp_path, clock):
        ledger = Ledger(tmp_path / "ledger.sqlite3", clock)
        proposals = Proposals(tmp_path / "kept", ledger, most=2)
        for image in ("a", "b", "c"):
            assert isinstance(self.keep(proposals, tmp_path, image, 1), Proposal)
        bundle = Bundle(tmp_path / "net", "", "1.0", (segment(1),))
        assert "no answer of net to ann" in str(proposals.of("a", "ann", bundle))
        assert "no answer of net to bob" in str(proposals.of("c", "bob", bundle))
        assert len(list((tmp_path / "kept").iterdir())) == 4

    def test_an_answer_that_is_no_label_is_kept_as_that(self, tmp_path, clock):
        proposals = Proposals(tmp_path / "kept", Ledger(tmp_path / "l.sqlite3", clock))
        self.keep(proposals, tmp_path, "a", 1)
        assert "holds the value 7" in str(self.keep(proposals, tmp_path, "a", 7))
