// `local_aggregation` as a Paddle operator; the GPU side.

#include "local_aggregation_cuda.h"
#include "local_aggregation_op.h"

namespace ppcls {

std::vector<paddle::Tensor> aggregate_gpu(const paddle::Tensor &x, const paddle::Tensor &weights,
                                          const AggregationShape &s) {
  auto y = paddle::empty({s.B, s.C, s.H, s.W}, x.dtype(), x.place());
  PD_DISPATCH_FLOATING_TYPES(x.type(), "local_aggregation", ([&] {
    aggregate_cuda<data_t>(s, x.data<data_t>(), weights.data<data_t>(), y.data<data_t>(),
                           x.stream());
  }));
  return {y};
}

std::vector<paddle::Tensor> aggregate_gradient_gpu(const paddle::Tensor &x,
                                                   const paddle::Tensor &weights,
                                                   const paddle::Tensor &dy,
                                                   const AggregationShape &s) {
  auto dx = paddle::empty(x.shape(), x.dtype(), x.place());
  auto dw = paddle::empty(weights.shape(), x.dtype(), x.place());
  PD_DISPATCH_FLOATING_TYPES(x.type(), "local_aggregation_grad", ([&] {
    aggregate_gradient_cuda<data_t>(s, x.data<data_t>(), weights.data<data_t>(),
                                    dy.data<data_t>(), dx.data<data_t>(), dw.data<data_t>(),
                                    x.stream());
  }));
  return {dx, dw};
}

}  // namespace ppcls
