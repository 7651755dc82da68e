"""Operators that change in the course of training (progressive learning, arXiv:2104.00298).

Such an operator has a method `at_epoch(epoch, epochs)`, which gives the operator for that epoch
and leaves the one it is called on alone. Workers and resumed runs thus need no more than the epoch
in a sample's key. `Pipeline.at_epoch` calls it.
"""


def stage(epoch: int, epochs: int, stages: int) -> int:
    """Which of `stages` equal parts of a training of `epochs` the epoch (from 0 on) is in.

    Stage i + 1 begins with epoch `floor(epochs (i + 1) / stages)`, as in PaddleClas.
    """
    return sum(epoch >= epochs * (number + 1) // stages for number in range(stages - 1))
