"""Where a run executes: device, rank, and the seeds of one training step."""

import random
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.distributed as dist

from ppcls.errors import ConfigError
from ppcls.utils.cpu import use_fast_kernels


@dataclass(frozen=True)
class Environment:
    """The process's place among its peers."""

    device: str
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits for every process."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """The sum of `tensor` over all processes, in each of them."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in at least one process."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(paddle.to_tensor([int(flag)], dtype="int64")).item())


def prepare_environment(device: str) -> Environment:
    """Selects the device and joins the processes that `paddle.distributed.launch` started.

    On CPUs it also chooses Paddle's faster kernels, see `ppcls.utils.cpu`.

    Raises:
        ConfigError: the installed Paddle cannot use `device`.
    """
    _check_device(device)
    paddle.set_device(device)
    if device == "cpu":
        use_fast_kernels()
    world_size = dist.get_world_size()
    if world_size > 1:
        dist.init_parallel_env()
    return Environment(device=device, rank=dist.get_rank(), world_size=world_size)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    if device == "gpu":
        usable = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    elif device == "xpu":
        usable = paddle.is_compiled_with_xpu()
    else:
        usable = device in paddle.device.get_all_custom_device_type()
    if not usable:
        raise ConfigError(
            f"Global.device is '{device}', which this installation of Paddle cannot use. "
            "Train on the CPU with -o Global.device=cpu, or install the Paddle build for the device"
        )


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, NumPy and Paddle."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)


def seed_step(seed: int, rank: int, iteration: int) -> None:
    """Seeds everything random inside one training step (dropout, stochastic depth).

    The seed follows from where the run stands, so a resumed run needs no generator state.
    """
    words = np.random.SeedSequence((seed, rank, iteration)).generate_state(1, np.uint32)
    seed_everything(int(words[0]))
