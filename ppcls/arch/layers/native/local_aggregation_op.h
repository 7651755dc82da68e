// What the CPU and the GPU build of the Paddle operator share.
#pragma once

#include <cmath>

#include "local_aggregation.h"
#include "paddle/extension.h"

namespace ppcls {

// x: padded (B, C, H + K - 1, W + K - 1); weights: (B, G, K * K, H, W).
inline AggregationShape aggregation_shape(const paddle::Tensor &x, const paddle::Tensor &weights,
                                          bool modulo) {
  const auto w = weights.shape();
  AggregationShape s;
  s.B = w[0];
  s.G = w[1];
  s.K = std::llround(std::sqrt(double(w[2])));
  s.H = w[3];
  s.W = w[4];
  s.C = x.shape()[1];
  s.modulo = modulo;
  PD_CHECK(s.K * s.K == w[2] && s.C % s.G == 0 && x.shape()[0] == s.B &&
               x.shape()[2] == s.padded_height() && x.shape()[3] == s.padded_width(),
           "local_aggregation: the padded map and the weights do not fit together");
  return s;
}

std::vector<paddle::Tensor> aggregate_gpu(const paddle::Tensor &x, const paddle::Tensor &weights,
                                          const AggregationShape &s);
std::vector<paddle::Tensor> aggregate_gradient_gpu(const paddle::Tensor &x,
                                                   const paddle::Tensor &weights,
                                                   const paddle::Tensor &dy,
                                                   const AggregationShape &s);

}  // namespace ppcls
