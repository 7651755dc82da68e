"""Orders, shards and resumption."""

from collections import Counter

import numpy as np
import pytest

from ppcls.data.randomness import SampleKey, batch_generator, epoch_generator, sample_generator
from ppcls.data.sampler import (
    ClassBalancedSampler,
    DistributedBatchSampler,
    MultiScaleSampler,
    RASampler,
    ShardedBatches,
)
from ppcls.data.sampler.order import count_before
from ppcls.errors import ConfigError
from ppcls.registry import SAMPLERS


def sampler(length: int, batch_size: int, **options) -> DistributedBatchSampler:
    return DistributedBatchSampler(range(length), batch_size, **options)


def test_generators_depend_on_everything():
    keys = [SampleKey(0, 0), SampleKey(1, 0), SampleKey(0, 1), SampleKey(0, 0, 1)]
    draws = [sample_generator(seed, key).random() for seed in (0, 1) for key in keys]
    draws += [batch_generator(seed, key).random() for seed in (0, 1) for key in keys]
    draws += [epoch_generator(seed, epoch).random() for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(draws)) == len(draws)
    assert sample_generator(7, keys[1]).random() == sample_generator(7, keys[1]).random()


def test_neighbouring_generators_are_independent():
    draws = np.array(
        [sample_generator(0, SampleKey(0, index)).standard_normal(64) for index in range(500)]
    )
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02
    correlations = np.corrcoef(draws)[np.triu_indices(500, 1)]
    assert abs(correlations.mean()) < 0.002
    assert abs(correlations.std() - 1 / 8) < 0.01


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [1, 7, 24, 37, 40])
def test_training_shards_are_even(length, world_size, drop_last, shuffle):
    shards = [
        list(
            sampler(
                length,
                4,
                shuffle=shuffle,
                drop_last=drop_last,
                rank=rank,
                world_size=world_size,
            )
        )
        for rank in range(world_size)
    ]
    shapes = [[len(batch) for batch in shard] for shard in shards]
    assert all(shape == shapes[0] for shape in shapes)
    assert len(shapes[0]) == len(sampler(length, 4, drop_last=drop_last, world_size=world_size))
    keys = [key for shard in shards for batch in shard for key in batch]
    assert len(set(keys)) == len(keys)
    if drop_last:
        assert set(shapes[0]) <= {4}
        assert len(keys) == length // (4 * world_size) * 4 * world_size
        assert all(key.repeat == 0 for key in keys)
    else:
        assert {key.index for key in keys} == set(range(length))
        assert 0 <= len(keys) - length < world_size


def test_a_global_batch_does_not_depend_on_the_number_of_processes():
    one = list(sampler(40, 8, shuffle=True, seed=5))
    four = [list(sampler(40, 2, shuffle=True, seed=5, rank=r, world_size=4)) for r in range(4)]
    for step, batch in enumerate(one):
        assert {key for shard in four for key in shard[step]} == set(batch)


def test_order_follows_from_seed_and_epoch():
    def order(seed: int, epoch: int) -> "list[int]":
        shuffled = sampler(50, 8, shuffle=True, seed=seed)
        shuffled.set_epoch(epoch)
        return [key.index for batch in shuffled for key in batch]

    assert order(1, 0) == order(1, 0)
    assert sorted(order(1, 0)) == list(range(50))
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def test_keys_carry_the_epoch_and_plain_types():
    shuffled = sampler(5, 2, shuffle=True)
    shuffled.set_epoch(7)
    key = next(iter(shuffled))[0]
    assert key.epoch == 7
    assert type(key.index) is int


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_resuming_in_the_middle_of_an_epoch(start):
    whole = sampler(37, 8, shuffle=True)
    whole.set_epoch(3)
    resumed = sampler(37, 8, shuffle=True)
    resumed.set_epoch(3, start_step=start)
    assert list(resumed) == list(whole)[start:]
    assert len(resumed) == 5


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("length", [1, 7, 24, 37])
def test_evaluation_sees_every_sample_exactly_once(length, world_size):
    shards = [ShardedBatches(sampler(length, 4), rank, world_size) for rank in range(world_size)]
    batches = [list(shard) for shard in shards]
    assert [len(shard) for shard in shards] == [len(shard) for shard in batches]
    seen = [key.index for shard in batches for batch in shard for key in batch]
    assert sorted(seen) == list(range(length))
    counts = [len(shard) for shard in shards]
    assert max(counts) - min(counts) <= 1


def shards_of(make, world_size: int, epoch: int = 0) -> "list[list[list[SampleKey]]]":
    """The batches of each process."""
    shards = []
    for rank in range(world_size):
        part = make(rank=rank, world_size=world_size)
        part.set_epoch(epoch)
        shards.append(list(part))
        assert len(part) == len(shards[-1])
    return shards


def check_resumes(make) -> None:
    whole = make()
    whole.set_epoch(3)
    batches = list(whole)
    for start in (0, 1, len(batches) - 1, len(batches)):
        resumed = make()
        resumed.set_epoch(3, start_step=start)
        assert list(resumed) == batches[start:]


def test_count_before():
    assert count_before(np.array([7, 3, 7, 7, 3])).tolist() == [0, 0, 1, 2, 1]
    assert count_before(np.zeros(0, dtype=int)).tolist() == []


class TestRASampler:
    def make(self, length=600, batch_size=16, **options):
        options.setdefault("shuffle", True)
        return RASampler(range(length), batch_size, **options)

    def test_an_epoch_repeats_a_third_of_the_samples(self):
        keys = [key for batch in self.make() for key in batch]
        assert len(keys) == 512  # 600, rounded down to 256s.
        counts = Counter(key.index for key in keys)
        assert len(counts) == 171
        assert sorted(counts.values()) == [2] + [3] * 170
        assert len(set(keys)) == len(keys)
        assert {key.repeat for key in keys} == {0, 1, 2}

    def test_copies_go_to_different_processes_in_the_same_step(self):
        shards = shards_of(lambda **where: self.make(batch_size=8, **where), 3)
        assert [len(shard) for shard in shards] == [22, 22, 22]
        for batches in list(zip(*shards))[:-1]:
            columns = [[key.index for key in batch] for batch in batches]
            assert columns[0] == columns[1] == columns[2]
            assert [batch[0].repeat for batch in batches] == [0, 1, 2]

    def test_orders_differ_between_epochs_and_resume(self):
        first, second = (shards_of(lambda **w: self.make(**w), 1, epoch)[0] for epoch in (0, 1))
        assert {k.index for b in first for k in b} != {k.index for b in second for k in b}
        check_resumes(self.make)

    def test_small_datasets_are_not_rounded_to_nothing(self):
        assert sum(len(batch) for batch in self.make(length=50)) == 50

    def test_options(self):
        twice = self.make(length=64, num_repeats=2, selected_round=10, shuffle=False)
        indices = [key.index for batch in twice for key in batch]
        assert indices == [index for index in range(30) for _ in range(2)]

    def test_its_other_name(self):
        assert SAMPLERS.get("RepeatedAugSampler") is SAMPLERS.get("RASampler")


class LongTail:
    """800, 150, 40 and 10 samples of four classes."""

    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [800, 150, 40, 10]))

    def __len__(self) -> int:
        return len(self.labels)


class TestClassBalancedSampler:
    def make(self, **options):
        return ClassBalancedSampler(LongTail(), 50, **options)

    def counts(self, **options) -> "list[int]":
        keys = [key for batch in self.make(**options) for key in batch]
        assert len(set(keys)) == len(keys) == 1000
        return np.bincount(LongTail.labels[[key.index for key in keys]]).tolist()

    def test_classes_come_equally_often(self):
        assert self.counts() == [250] * 4

    def test_exponent(self):
        assert self.counts(exponent=0) == [800, 150, 40, 10]
        roots = np.sqrt([800, 150, 40, 10])
        expected = 1000 * roots / roots.sum()
        assert np.abs(np.array(self.counts(exponent=0.5)) - expected).max() < 1

    def test_samples_of_a_class_come_equally_often(self):
        keys = [key for batch in self.make() for key in batch]
        counts = Counter(key.index for key in keys)
        for label, per_sample in ((1, {1, 2}), (2, {6, 7}), (3, {25})):
            members = np.flatnonzero(LongTail.labels == label).tolist()
            assert {counts[member] for member in members} == per_sample
        assert max(counts[i] for i in np.flatnonzero(LongTail.labels == 0).tolist()) == 1

    def test_every_draw_is_a_draw_of_its_own(self):
        keys = [key for batch in self.make() for key in batch]
        rare = [key for key in keys if key.index == np.flatnonzero(LongTail.labels == 3)[0]]
        assert [key.repeat for key in rare] == list(range(25))

    def test_processes_share_one_order(self):
        one = list(self.make())
        half = [
            list(ClassBalancedSampler(LongTail(), 25, rank=rank, world_size=2)) for rank in (0, 1)
        ]
        assert [set(batch) for batch in one] == [set(a) | set(b) for a, b in zip(*half)]
        check_resumes(self.make)

    def test_multi_label_data_are_refused(self):
        class Rows:
            labels = np.zeros((4, 3))

            def __len__(self):
                return 4

        with pytest.raises(ConfigError, match="one label per image"):
            ClassBalancedSampler(Rows(), 2)


class TestMultiScaleSampler:
    def make(self, length=1000, scales=(224, 128, 160), first_bs=8, **options):
        return MultiScaleSampler(range(length), list(scales), first_bs, **options)

    def test_each_batch_has_one_size_and_its_batch_size(self):
        sizes = {(224, 224): 8, (128, 128): 24, (160, 160): 15}
        seen = set()
        for batch in self.make():
            assert len({key.size for key in batch}) == 1
            assert len(batch) == sizes[batch[0].size]
            seen.add(batch[0].size)
        assert seen == set(sizes)

    @pytest.mark.parametrize("world_size", [1, 2, 3])
    def test_processes_have_the_same_sizes_and_see_every_sample(self, world_size):
        shards = shards_of(lambda **where: self.make(**where), world_size, epoch=2)
        for batches in zip(*shards):
            assert len({(len(batch), batch[0].size) for batch in batches}) == 1
        keys = [key for shard in shards for batch in shard for key in batch]
        assert {key.index for key in keys} == set(range(1000))
        assert len(set(keys)) == len(keys) < 1000 + 24 * world_size

    def test_epochs_are_equally_long_and_differ(self):
        epochs = [shards_of(lambda **where: self.make(**where), 1, epoch)[0] for epoch in (0, 1)]
        sizes = [[batch[0].size for batch in epoch] for epoch in epochs]
        assert sorted(sizes[0]) == sorted(sizes[1])
        assert sizes[0] != sizes[1]
        assert epochs[0][0] != epochs[1][0]
        check_resumes(self.make)

    def test_sides_are_rounded_down_and_may_differ(self):
        sampler = self.make(scales=[[100, 70]], first_bs=4, divided_factor=32)
        batch = next(iter(sampler))
        assert batch[0].size == (64, 96)
        assert len(batch) == 4  # 100 * 70 * 4 pixels in images of 64 * 96.

    def test_outside_training_the_first_size_in_order(self):
        batches = list(self.make(length=37, scales=[100, 64], is_training=False))
        assert [len(batch) for batch in batches] == [8, 8, 8, 8, 5]
        assert [key.index for batch in batches for key in batch] == list(range(37))
        assert {key.size for batch in batches for key in batch} == {(100, 100)}
        sharded = [ShardedBatches(self.make(length=37, is_training=False), r, 2) for r in (0, 1)]
        seen = [key.index for shard in sharded for batch in shard for key in batch]
        assert sorted(seen) == list(range(37))

    @pytest.mark.parametrize(
        ("scales", "message"), [([], "`scales` is empty"), ([224, 16], "16x16 is less than")]
    )
    def test_impossible_scales(self, scales, message):
        with pytest.raises(ConfigError, match=message):
            self.make(scales=scales)
