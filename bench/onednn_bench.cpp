// Convolutions of mien beside oneDNN's, in turns: one thread, images NHWC, oneDNN's weights in the layout it prefers;
// fp32_free: all of oneDNN's operands in the layouts it prefers. Both have the same operands, and their results are
// compared first.
//
//   onednn_bench --benchmark_format=json        (ONEDNN_MAX_CPU_ISA=AVX2 and MIEN_ISA=avx2: with AVX2 alone)
#include <cmath>
#include <oneapi/dnnl/dnnl.hpp>

#include "conv2d_cases.hpp"
#include "mien/core/cpu.hpp"
#include "onednn_peer.hpp"

namespace {

using namespace mien;
using namespace mien::bench;

/// One pass of one convolution in oneDNN: by its direct way over images NHWC, or, `free`, by the way and in the layouts
/// that it prefers (where it can, Winograd's filtering over channels in blocks).
class Peer : public OnednnPeer {
 public:
  Peer(const ConvGeometry& g, ConvPass pass, dnnl::memory::data_type type, bool free) : pass_(pass) {
    const memory::dims x_dims{g.batch, g.channels, g.height, g.width};
    const memory::dims w_dims{g.filters, g.channels, g.kernel_h, g.kernel_w};
    const memory::dims y_dims{g.batch, g.filters, g.out_height(), g.out_width()};
    const memory::dims strides{g.stride_h, g.stride_w}, before{g.pad_top, g.pad_left}, after{g.pad_bottom, g.pad_right};
    const tag images = free ? tag::any : tag::nhwc;
    const memory::desc x(x_dims, type, images), y(y_dims, type, images), b({g.filters}, f32, tag::a);
    const memory::desc w(w_dims, type, tag::any), dw(w_dims, f32, tag::any);
    const auto way = free ? dnnl::algorithm::convolution_auto : dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, way, x, w, b, y, strides, before, after}, engine_);
    plain_x_ = memory::desc(x_dims, type, tag::nhwc), plain_y_ = memory::desc(y_dims, type, tag::nhwc);
    plain_w_ = memory::desc(w_dims, f32, tag::oihw), plain_b_ = b;
    if (pass == ConvPass::forward) {
      primitive_ = dnnl::convolution_forward(forward);
      add(DNNL_ARG_SRC, forward.src_desc());
      add(DNNL_ARG_WEIGHTS, forward.weights_desc());
      add(DNNL_ARG_BIAS, forward.bias_desc());
      add(DNNL_ARG_DST, forward.dst_desc());
      result_ = DNNL_ARG_DST, plain_result_ = memory::desc(y_dims, f32, tag::nhwc);
    } else if (pass == ConvPass::backward_data) {
      const dnnl::convolution_backward_data::primitive_desc d({way, x, w, y, strides, before, after}, engine_, forward);
      primitive_ = dnnl::convolution_backward_data(d);
      add(DNNL_ARG_DIFF_DST, d.diff_dst_desc());
      add(DNNL_ARG_WEIGHTS, d.weights_desc());
      add(DNNL_ARG_DIFF_SRC, d.diff_src_desc());
      result_ = DNNL_ARG_DIFF_SRC, plain_result_ = memory::desc(x_dims, f32, tag::nhwc);
    } else {
      const dnnl::convolution_backward_weights::primitive_desc d({way, x, dw, b, y, strides, before, after}, engine_,
                                                                 forward);
      primitive_ = dnnl::convolution_backward_weights(d);
      add(DNNL_ARG_SRC, d.src_desc());
      add(DNNL_ARG_DIFF_DST, d.diff_dst_desc());
      add(DNNL_ARG_DIFF_WEIGHTS, d.diff_weights_desc());
      add(DNNL_ARG_DIFF_BIAS, d.diff_bias_desc());
      result_ = DNNL_ARG_DIFF_WEIGHTS, plain_result_ = plain_w_;
    }
  }

  /// The result for the operands of `ours`, in its layout.
  template <class T>
  Tensor<float> result_for(const MienConvolution<T>& ours) {
    if (pass_ != ConvPass::backward_data) set(DNNL_ARG_SRC, ours.x.data(), plain_x_);
    if (pass_ != ConvPass::backward_weights) set(DNNL_ARG_WEIGHTS, ours.w.data(), plain_w_);
    if (pass_ == ConvPass::forward) set(DNNL_ARG_BIAS, ours.bias.data(), plain_b_);
    if (pass_ != ConvPass::forward) set(DNNL_ARG_DIFF_DST, ours.y.data(), plain_y_);
    run();
    return get(result_, plain_result_);
  }

 private:
  using memory = dnnl::memory;
  using tag = memory::format_tag;
  static constexpr auto f32 = memory::data_type::f32;

  ConvPass pass_;
  memory::desc plain_x_, plain_y_, plain_w_, plain_b_, plain_result_;
  int result_ = 0;
};

/// The largest difference between two results, as a share of the largest value.
template <class A>
double difference(const A& ours, const Tensor<float>& theirs) {
  double most = 0, largest = 0;
  for (index_t i = 0; i < theirs.size(); ++i) {
    const double a = static_cast<float>(ours[i]), b = theirs[i];
    most = std::max(most, std::abs(a - b)), largest = std::max(largest, std::abs(b));
  }
  return ours.size() == theirs.size() && largest > 0 ? most / largest : 1;
}

template <class T>
void compare(benchmark::State& state, const Case& shape, ConvPass pass, bool free) {
  const Threads one(1);
  const ConvGeometry g = shape.geometry(64);
  MienConvolution<T> ours(g, one);
  try {
    Peer peer(g, pass, onednn_type<T>, free);
    const Tensor<float> expected = peer.result_for(ours);
    ours.run(pass);
    const double apart = pass == ConvPass::forward         ? difference(ours.y, expected)
                         : pass == ConvPass::backward_data ? difference(ours.dx, expected)
                                                           : difference(ours.dw, expected);
    if (!(apart < (std::is_same_v<T, float> ? 1e-4 : 1e-2))) {
      state.SkipWithError(("the results differ by " + std::to_string(apart) + " of the largest").c_str());
      return;
    }
    take_turns(
        state, gflop(g), false, [&] { ours.run(pass); }, [&] { peer.run(); });
  } catch (const dnnl::error& error) {  // it has bfloat16 for AVX-512 alone
    state.SkipWithError(error.what());
  }
}

template <class T>
void add_all(const std::string& precision, bool free = false) {
  for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
    for (const Case& shape : cases()) {
      const std::string name = precision + "/" + mien::bench::name(pass) + "/" + shape.name();
      benchmark::RegisterBenchmark(name.c_str(), compare<T>, shape, pass, free)->UseManualTime()->Iterations(turns());
    }
}

}  // namespace

int main(int argc, char** argv) {
  return run_beside_onednn(argc, argv, [] {
    add_all<float>("fp32");
    add_all<bfloat16>("bf16");
    add_all<float>("fp32_free", true);
  });
}
