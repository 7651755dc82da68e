// Local aggregation, the arithmetic: plain C++ that knows neither Paddle nor CUDA's runtime.
//
//   y[b, c, i, j] = sum_k w[b, g(c), k, i, j] * x[b, c, i + k / K, j + k % K]
//
// x is padded already: (B, C, H + K - 1, W + K - 1); w is (B, G, K * K, H, W); y is (B, C, H, W).
// Every group g has C / G channels: g(c) = c / (C / G), or c % G when `modulo`.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define PPCLS_HOST_DEVICE __host__ __device__ inline
#else
#define PPCLS_HOST_DEVICE inline
#endif

namespace ppcls {

struct AggregationShape {
  int64_t B, C, G, K, H, W;
  bool modulo;

  PPCLS_HOST_DEVICE int64_t padded_height() const { return H + K - 1; }
  PPCLS_HOST_DEVICE int64_t padded_width() const { return W + K - 1; }
  PPCLS_HOST_DEVICE int64_t channels_per_group() const { return C / G; }
  PPCLS_HOST_DEVICE int64_t group_of(int64_t c) const {
    return modulo ? c % G : c / channels_per_group();
  }
  // The t-th channel of group g.
  PPCLS_HOST_DEVICE int64_t channel_of(int64_t g, int64_t t) const {
    return modulo ? t * G + g : g * channels_per_group() + t;
  }
  // Offsets of row i of a map in x, in w and in y.
  PPCLS_HOST_DEVICE int64_t x_row(int64_t b, int64_t c, int64_t i) const {
    return ((b * C + c) * padded_height() + i) * padded_width();
  }
  PPCLS_HOST_DEVICE int64_t w_row(int64_t b, int64_t g, int64_t k, int64_t i) const {
    return (((b * G + g) * K * K + k) * H + i) * W;
  }
  PPCLS_HOST_DEVICE int64_t y_row(int64_t b, int64_t c, int64_t i) const {
    return ((b * C + c) * H + i) * W;
  }
};

// One value of y.
template <typename T>
PPCLS_HOST_DEVICE T aggregate_at(const AggregationShape &s, const T *x, const T *w, int64_t b,
                                 int64_t c, int64_t i, int64_t j) {
  const int64_t g = s.group_of(c);
  T sum = 0;
  for (int64_t u = 0; u < s.K; ++u) {
    const T *row = x + s.x_row(b, c, i + u) + j;
    for (int64_t v = 0; v < s.K; ++v) {
      sum += w[s.w_row(b, g, u * s.K + v, i) + j] * row[v];
    }
  }
  return sum;
}

// One value of the gradient by w.
template <typename T>
PPCLS_HOST_DEVICE T weight_gradient_at(const AggregationShape &s, const T *x, const T *dy,
                                       int64_t b, int64_t g, int64_t k, int64_t i, int64_t j) {
  const int64_t u = k / s.K, v = k % s.K;
  T sum = 0;
  for (int64_t t = 0; t < s.channels_per_group(); ++t) {
    const int64_t c = s.channel_of(g, t);
    sum += dy[s.y_row(b, c, i) + j] * x[s.x_row(b, c, i + u) + j + v];
  }
  return sum;
}

// One value of the gradient by the padded x, at its row p and column q.
template <typename T>
PPCLS_HOST_DEVICE T input_gradient_at(const AggregationShape &s, const T *w, const T *dy, int64_t b,
                                      int64_t c, int64_t p, int64_t q) {
  const int64_t g = s.group_of(c);
  T sum = 0;
  for (int64_t u = 0; u < s.K; ++u) {
    const int64_t i = p - u;
    if (i < 0 || i >= s.H) continue;
    for (int64_t v = 0; v < s.K; ++v) {
      const int64_t j = q - v;
      if (j < 0 || j >= s.W) continue;
      sum += w[s.w_row(b, g, u * s.K + v, i) + j] * dy[s.y_row(b, c, i) + j];
    }
  }
  return sum;
}

}  // namespace ppcls
