"""How much memory a run has needed, and what to do if that is too much."""

import sys

import paddle


def peak_memory_mib(device: str) -> float:
    """The most memory so far, in MiB: of the GPU, or else of this process (0 if not known)."""
    if device == "gpu":
        return paddle.device.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def advice_on_memory(error: MemoryError) -> str:
    """What to change after Paddle, or Python, could not get the memory it wanted."""
    # Paddle's ResourceExhausted arrives as a MemoryError; of a GPU it says so.
    lines = str(error).strip().splitlines() or ["no further details"]
    about = next((line.strip() for line in lines if "lloc" in line or "emory" in line), lines[0])
    where = "on the GPU" if "GPU" in str(error) or "CUDA" in str(error) else "in this computer"
    return (
        f"memory {where} ran out ({about}). Halve DataLoader.Train.sampler.batch_size and double "
        "Global.update_freq, which keeps the images per step and the recipe's rates; or set "
        "Arch.use_recompute: true (where the model has it), use AMP, or smaller images"
    )
