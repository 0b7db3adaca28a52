// What the optional library mien::precompiled holds, compiled once: a program that links it (MIEN_PRECOMPILED is then
// defined) compiles several times faster, and does the same. Everything else stays in the headers.
// IWYU pragma: private, include "mien/mien.hpp"
#pragma once

#include "mien/mien.hpp"

#ifdef MIEN_PRECOMPILING
#define MIEN_TEMPLATE template
#else
#define MIEN_TEMPLATE extern template
#endif

#define MIEN_PRECOMPILE(T)                                                                                   \
  MIEN_TEMPLATE class Sequential<T>;                                                                         \
  MIEN_TEMPLATE class AnyLayer<T>;                                                                           \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Conv2d>;                                                           \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Dense>;                                                            \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<MaxPool2d>;                                                        \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<AveragePool2d>;                                                    \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<AdaptiveAveragePool2d>;                                            \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<GlobalAveragePool>;                                                \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Dropout>;                                                          \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<BatchNorm2d>;                                                      \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Relu>;                                                             \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<LeakyRelu>;                                                        \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Sigmoid>;                                                          \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Tanh>;                                                             \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Softmax>;                                                          \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Flatten>;                                                          \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Residual<T>>;                                                      \
  MIEN_TEMPLATE struct AnyLayer<T>::Model<Concat<T>>;                                                        \
  MIEN_TEMPLATE class detail::Trainer<T>;                                                                    \
  MIEN_TEMPLATE History fit<T>(Sequential<T>&, const Optimizer&, const Dataset&, const FitOptions&);         \
  MIEN_TEMPLATE Evaluation evaluate<T>(const Sequential<T>&, const Dataset&, Workspace&, index_t, index_t);  \
  MIEN_TEMPLATE Json network_to_json<T>(Sequential<T>&);                                                     \
  MIEN_TEMPLATE std::pair<Sequential<T>, Shape> network_from_json<T>(JsonView);                              \
  MIEN_TEMPLATE std::vector<std::byte> model_bytes<T>(Sequential<T>&, const ModelInfo&, const SaveOptions&); \
  MIEN_TEMPLATE Model<T> load_model<T>(std::span<const std::byte>, std::string_view, const ModelLimits&);    \
  MIEN_TEMPLATE void load_parameters<T>(Sequential<T>&, const Safetensors&, std::string_view);               \
  MIEN_TEMPLATE void apply_delta<T>(Sequential<T>&, std::span<const std::byte>, std::string_view);           \
  MIEN_TEMPLATE void save<T>(Sequential<T>&, const std::string&, const ModelInfo&, const SaveOptions&);      \
  MIEN_TEMPLATE Model<T> load<T>(const std::string&, const ModelLimits&);

namespace mien {
MIEN_TEMPLATE class OptimizerState<float>;
MIEN_TEMPLATE class WeightAverage<float>;
MIEN_PRECOMPILE(float)
MIEN_PRECOMPILE(bfloat16)
}  // namespace mien

#undef MIEN_PRECOMPILE
#undef MIEN_TEMPLATE
