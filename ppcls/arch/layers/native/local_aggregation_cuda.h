// Local aggregation on NVIDIA GPUs: one thread per output value, neighbouring threads on
// neighbouring columns, so that loads of weights and maps are coalesced; the K * K window of a map
// is served from cache. No atomics: the gradient by x gathers.
#pragma once

#include <cuda_runtime.h>

#include "local_aggregation.h"

namespace ppcls {

constexpr int kThreads = 256;

template <typename T>
__global__ void aggregate_kernel(AggregationShape s, const T *x, const T *w, T *y) {
  const int64_t total = s.B * s.C * s.H * s.W;
  for (int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; n < total;
       n += int64_t(gridDim.x) * blockDim.x) {
    const int64_t j = n % s.W, i = n / s.W % s.H, c = n / (s.W * s.H) % s.C;
    y[n] = aggregate_at(s, x, w, n / (s.W * s.H * s.C), c, i, j);
  }
}

template <typename T>
__global__ void weight_gradient_kernel(AggregationShape s, const T *x, const T *dy, T *dw) {
  const int64_t window = s.K * s.K;
  const int64_t total = s.B * s.G * window * s.H * s.W;
  for (int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; n < total;
       n += int64_t(gridDim.x) * blockDim.x) {
    const int64_t j = n % s.W, i = n / s.W % s.H, k = n / (s.W * s.H) % window;
    const int64_t g = n / (s.W * s.H * window) % s.G;
    dw[n] = weight_gradient_at(s, x, dy, n / (s.W * s.H * window * s.G), g, k, i, j);
  }
}

template <typename T>
__global__ void input_gradient_kernel(AggregationShape s, const T *w, const T *dy, T *dx) {
  const int64_t height = s.padded_height(), width = s.padded_width();
  const int64_t total = s.B * s.C * height * width;
  for (int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; n < total;
       n += int64_t(gridDim.x) * blockDim.x) {
    const int64_t q = n % width, p = n / width % height, c = n / (width * height) % s.C;
    dx[n] = input_gradient_at(s, w, dy, n / (width * height * s.C), c, p, q);
  }
}

inline int blocks_for(int64_t values) {
  const int64_t blocks = (values + kThreads - 1) / kThreads;
  return int(blocks < (1 << 20) ? blocks : (1 << 20));
}

template <typename T>
void aggregate_cuda(const AggregationShape &s, const T *x, const T *w, T *y, cudaStream_t stream) {
  aggregate_kernel<T>
      <<<blocks_for(s.B * s.C * s.H * s.W), kThreads, 0, stream>>>(s, x, w, y);
}

// Gradients by the padded x and by w; both are overwritten.
template <typename T>
void aggregate_gradient_cuda(const AggregationShape &s, const T *x, const T *w, const T *dy, T *dx,
                             T *dw, cudaStream_t stream) {
  weight_gradient_kernel<T>
      <<<blocks_for(s.B * s.G * s.K * s.K * s.H * s.W), kThreads, 0, stream>>>(s, x, dy, dw);
  input_gradient_kernel<T>
      <<<blocks_for(s.B * s.C * s.padded_height() * s.padded_width()), kThreads, 0, stream>>>(
          s, w, dy, dx);
}

}  // namespace ppcls
