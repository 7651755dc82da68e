// `local_aggregation` as a Paddle operator with its gradient; the CPU side.

#include "local_aggregation_cpu.h"
#include "local_aggregation_op.h"

namespace ppcls {

std::vector<paddle::Tensor> forward(const paddle::Tensor &x, const paddle::Tensor &weights,
                                    bool modulo) {
  const AggregationShape s = aggregation_shape(x, weights, modulo);
#ifdef PADDLE_WITH_CUDA
  if (x.is_gpu()) return aggregate_gpu(x, weights, s);
#endif
  auto y = paddle::empty({s.B, s.C, s.H, s.W}, x.dtype(), x.place());
  PD_DISPATCH_FLOATING_TYPES(x.type(), "local_aggregation", ([&] {
    aggregate_cpu<data_t>(s, x.data<data_t>(), weights.data<data_t>(), y.data<data_t>());
  }));
  return {y};
}

std::vector<paddle::Tensor> backward(const paddle::Tensor &x, const paddle::Tensor &weights,
                                     const paddle::Tensor &dy, bool modulo) {
  const AggregationShape s = aggregation_shape(x, weights, modulo);
#ifdef PADDLE_WITH_CUDA
  if (x.is_gpu()) return aggregate_gradient_gpu(x, weights, dy, s);
#endif
  auto dx = paddle::empty(x.shape(), x.dtype(), x.place());
  auto dw = paddle::empty(weights.shape(), x.dtype(), x.place());
  PD_DISPATCH_FLOATING_TYPES(x.type(), "local_aggregation_grad", ([&] {
    aggregate_gradient_cpu<data_t>(s, x.data<data_t>(), weights.data<data_t>(), dy.data<data_t>(),
                                   dx.data<data_t>(), dw.data<data_t>());
  }));
  return {dx, dw};
}

std::vector<std::vector<int64_t>> infer_shape(std::vector<int64_t> x, std::vector<int64_t> weights,
                                              bool modulo) {
  return {{x[0], x[1], weights[3], weights[4]}};
}

std::vector<paddle::DataType> infer_dtype(paddle::DataType x, paddle::DataType weights) {
  return {x};
}

}  // namespace ppcls

PD_BUILD_OP(ppcls_local_aggregation)
    .Inputs({"X", "Weights"})
    .Outputs({"Out"})
    .Attrs({"modulo: bool"})
    .SetKernelFn(PD_KERNEL(ppcls::forward))
    .SetInferShapeFn(PD_INFER_SHAPE(ppcls::infer_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(ppcls::infer_dtype));

PD_BUILD_GRAD_OP(ppcls_local_aggregation)
    .Inputs({"X", "Weights", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weights")})
    .Attrs({"modulo: bool"})
    .SetKernelFn(PD_KERNEL(ppcls::backward));
