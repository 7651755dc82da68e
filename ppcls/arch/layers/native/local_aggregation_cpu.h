// Local aggregation on CPUs: whole rows at a time, so that the innermost loop is a vector operation
// on neighbouring values; OpenMP over samples and groups. Nothing is unfolded or stored.
#pragma once

#include <algorithm>

#include "local_aggregation.h"

namespace ppcls {

// sum[0..n) += a[0..n) * b[0..n)
template <typename T>
inline void multiply_add(int64_t n, const T *a, const T *b, T *sum) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) sum[j] += a[j] * b[j];
}

template <typename T>
void aggregate_cpu(const AggregationShape &s, const T *x, const T *w, T *y) {
#pragma omp parallel for collapse(2)
  for (int64_t b = 0; b < s.B; ++b) {
    for (int64_t g = 0; g < s.G; ++g) {
      // One row of weights, K * K * W values, stays in cache for all channels of the group.
      for (int64_t i = 0; i < s.H; ++i) {
        for (int64_t t = 0; t < s.channels_per_group(); ++t) {
          const int64_t c = s.channel_of(g, t);
          T *out = y + s.y_row(b, c, i);
          std::fill(out, out + s.W, T(0));
          for (int64_t k = 0; k < s.K * s.K; ++k) {
            const T *row = x + s.x_row(b, c, i + k / s.K) + k % s.K;
            multiply_add(s.W, w + s.w_row(b, g, k, i), row, out);
          }
        }
      }
    }
  }
}

// Gradients by the padded x and by w; both are overwritten.
template <typename T>
void aggregate_gradient_cpu(const AggregationShape &s, const T *x, const T *w, const T *dy, T *dx,
                            T *dw) {
#pragma omp parallel for collapse(2)
  for (int64_t b = 0; b < s.B; ++b) {
    for (int64_t g = 0; g < s.G; ++g) {
      for (int64_t t = 0; t < s.channels_per_group(); ++t) {
        T *map = dx + s.x_row(b, s.channel_of(g, t), 0);
        std::fill(map, map + s.padded_height() * s.padded_width(), T(0));
      }
      for (int64_t i = 0; i < s.H; ++i) {
        for (int64_t k = 0; k < s.K * s.K; ++k) {
          const int64_t u = k / s.K, v = k % s.K;
          const T *weights = w + s.w_row(b, g, k, i);
          T *weights_gradient = dw + s.w_row(b, g, k, i);
          std::fill(weights_gradient, weights_gradient + s.W, T(0));
          for (int64_t t = 0; t < s.channels_per_group(); ++t) {
            const int64_t c = s.channel_of(g, t);
            const T *out_gradient = dy + s.y_row(b, c, i);
            const int64_t row = s.x_row(b, c, i + u) + v;
            multiply_add(s.W, out_gradient, x + row, weights_gradient);
            multiply_add(s.W, out_gradient, weights, dx + row);
          }
        }
      }
    }
  }
}

}  // namespace ppcls
