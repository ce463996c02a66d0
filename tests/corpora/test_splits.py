import collections
import random

import pytest

from nafp.corpora import manifest, splits


def tracks(n, *, n_groups=0, seed=0, kind="music"):
    """Tracks of 10 to 300 s, in groups of uneven size when n_groups is given."""
    rng = random.Random(seed)
    return [
        manifest.Track(
            f"/m/{i:04d}.wav",
            seconds=float(rng.randint(10, 300)),
            kind=kind,
            group=f"g{int(n_groups * rng.random() ** 2)}" if n_groups else "",
            extra=(("label", f"l{rng.randrange(20)}"),),
        )
        for i in range(n)
    ]


def counts(done):
    return collections.Counter(track.split for track in done)


def test_numbers_are_met_exactly_and_the_rest_goes_where_it_is_told():
    sizes = splits.read_sizes("train=100,val=20,test=30")
    done = splits.split(tracks(200), sizes)
    assert counts(done) == {"train": 100, "val": 20, "test": 30, "": 50}
    sizes = splits.read_sizes("train=100,test=30,dummy=rest")
    assert counts(splits.split(tracks(200), sizes)) == {"train": 100, "test": 30, "dummy": 70}


def test_shares_are_met_to_the_size_of_a_group():
    sizes = splits.read_sizes("train=80%,val=10%,test=10%")
    assert counts(splits.split(tracks(200), sizes)) == {"train": 160, "val": 20, "test": 20}
    grouped = tracks(500, n_groups=60)
    largest = max(collections.Counter(track.group for track in grouped).values())
    found = counts(splits.split(grouped, sizes, by="group"))
    for name, expected in (("train", 400), ("val", 50), ("test", 50)):
        assert abs(found[name] - expected) <= largest
    some = counts(splits.split(grouped, splits.read_sizes("val=10%,test=20%"), by="group"))
    assert abs(some["val"] - 50) <= largest
    assert abs(some["test"] - 100) <= largest
    uneven = [manifest.Track(f"/{g}/{i}", group=g) for g, n in zip("abcde", (9, 1, 1, 1, 1)) for i in range(n)]
    for seed in range(10):
        done = counts(splits.split(uneven, splits.read_sizes("train=70%,test=30%"), by="group", seed=seed))
        assert done == {"train": 9, "test": 4}


def test_hours_are_not_exceeded():
    done = splits.split(tracks(300), splits.read_sizes("test=2h,val=1.5h,train=rest"))
    hours = {name: sum(t.seconds for t in done if t.split == name) / 3600 for name in ("test", "val")}
    assert 1.9 < hours["test"] <= 2.0
    assert 1.4 < hours["val"] <= 1.5
    assert "" not in counts(done)


@pytest.mark.parametrize("by", ["group", "folder", "artist", "top", "label"])
@pytest.mark.parametrize("text", ["train=70%,val=10%,test=20%", "train=200,test=80", "test=3h"])
@pytest.mark.parametrize("seed", range(3))
def test_no_group_is_ever_in_two_splits(by, text, seed):
    rng = random.Random(seed)
    listed = [
        track._replace(path=f"/m/a{rng.randrange(40)}/b{rng.randrange(3)}/{i}.wav")
        for i, track in enumerate(tracks(400, n_groups=50, seed=seed))
    ]
    together = [(rng.choice(listed).path, rng.choice(listed).path) for _ in range(15)]
    done = splits.split(listed, splits.read_sizes(text), by=by, together=together, seed=seed)
    names = splits.group_names(done, by, together=together)
    assert splits.leaks(done, names) == []
    split_of = {track.path: track.split for track in done}
    assert all(split_of[one] == split_of[other] for one, other in together)


def test_groups_are_albums_artists_or_whatever_lies_at_the_top():
    listed = [manifest.Track(f"/m/{name}.wav") for name in ("x/a/1", "x/b/2", "y/a/3")]
    named = {by: splits.group_names(listed, by) for by in ("", "folder", "artist", "top")}
    assert named == {
        "": ["/m/x/a/1.wav", "/m/x/b/2.wav", "/m/y/a/3.wav"],
        "folder": ["/m/x/a", "/m/x/b", "/m/y/a"],
        "artist": ["/m/x", "/m/x", "/m/y"],
        "top": ["/m/x", "/m/x", "/m/y"],
    }
    noise = [manifest.Track(f"/n/{name}.wav", kind="noise") for name in ("rain/1", "rain/2", "3")]
    names = splits.group_names([*listed, *noise], "top")
    assert names == ["/m/x", "/m/x", "/m/y", "/n/rain", "/n/rain", "/n/3.wav"]


def test_order_of_the_list_decides_nothing_and_the_seed_does():
    listed = tracks(300, n_groups=40)
    sizes = splits.read_sizes("train=80%,test=20%")
    one = splits.split(listed, sizes, by="group")
    other = splits.split(random.Random(1).sample(listed, 300), sizes, by="group")
    assert sorted(one) == sorted(other)
    assert splits.split(listed, sizes, by="group", seed=1) != one


def test_each_kind_is_split_by_itself():
    listed = tracks(100) + [t._replace(path=t.path + "n") for t in tracks(50, kind="noise")]
    listed += [t._replace(path=t.path + "r") for t in tracks(10, kind="room")]
    sizes = splits.read_sizes("train=80%,val=20%")
    done = splits.split(listed, sizes, kinds=["music", "noise"])
    found = collections.Counter((track.kind, track.split) for track in done)
    assert found == {
        ("music", "train"): 80,
        ("music", "val"): 20,
        ("noise", "train"): 40,
        ("noise", "val"): 10,
        ("room", ""): 10,
    }
    with pytest.raises(ValueError, match="one kind at a time"):
        splits.split(listed, splits.read_sizes("train=10"), kinds=["music", "noise"])
    with pytest.raises(ValueError, match="kinds 'musik'"):
        splits.split(listed, sizes, kinds=["musik"])


def test_a_split_that_is_there_stays_and_draws_its_group_after_it():
    listed = tracks(60, n_groups=12)
    listed[0] = listed[0]._replace(split="test")
    done = splits.split(listed, splits.read_sizes("train=100%"), by="group")
    mates = [track for track in done if track.group == listed[0].group]
    assert {track.split for track in mates} == {"test"}
    assert {track.split for track in done} == {"test", "train"}
    again = splits.split(listed, splits.read_sizes("train=100%"), by="group", again=True)
    assert counts(again) == {"train": 60}


def test_a_group_in_two_splits_already_is_refused_with_its_tracks():
    listed = [
        manifest.Track("/a", split="train", group="x"),
        manifest.Track("/b", split="test", group="x"),
    ]
    with pytest.raises(ValueError, match=r"/a \(train\) and /b \(test\) belong together"):
        splits.split(listed, splits.read_sizes("train=50%"), by="group")
    with pytest.raises(ValueError, match="belong together"):
        splits.split(listed, splits.read_sizes("train=50%"), together=[("/a", "/b")])


def test_lengths_at_both_ends_are_kept_and_unknown_ones_refused():
    listed = [manifest.Track(f"/{s}", seconds=s) for s in (10.0, 29.9, 30.0, 31.0)]
    kept = splits.by_length(listed, shortest_s=29.9, longest_s=30.0)
    assert [track.seconds for track in kept] == [29.9, 30.0]
    assert splits.by_length(listed) == listed
    with pytest.raises(ValueError, match="/x: its length is not known"):
        splits.by_length([*listed, manifest.Track("/x")], shortest_s=1)
    with pytest.raises(ValueError, match="shortest_s 5"):
        splits.by_length(listed, shortest_s=5, longest_s=4)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "name each split once"),
        ("train=80%,train=20%", "name each split once"),
        ("trian=80%", "'trian' is no split"),
        ("train=lots", "'train=lots'; allowed are"),
        ("train=-5", "allowed are"),
        ("train=90%,test=20%", "110 % altogether"),
        ("train=rest,test=rest", "only one split"),
    ],
)
def test_sizes_that_cannot_be_meant_are_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        splits.read_sizes(text)


def test_more_than_there_is_and_a_column_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match="500 tracks asked for, there are 100"):
        splits.split(tracks(100), splits.read_sizes("train=500"))
    with pytest.raises(ValueError, match=r"by 'albun': no track has it; .* columns label"):
        splits.split(tracks(10), splits.read_sizes("train=50%"), by="albun")
    with pytest.raises(ValueError, match="hours for all splits"):
        splits.split(tracks(100), splits.read_sizes("train=5,test=1h"))
