"""Orders, shards and resumption."""

import numpy as np
import pytest

from ppcls.data.randomness import SampleKey, batch_generator, epoch_generator, sample_generator
from ppcls.data.sampler import DistributedBatchSampler, ShardedBatches


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
