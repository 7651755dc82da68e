"""What a trained model looks at: Grad-CAM, its local and global streams, attention, kernels.

Nothing here is part of a model: tensors are read by hooks on named sub-layers, and layers that
compute kernels from their input say which by their method `generated_kernels(x)`.
"""
