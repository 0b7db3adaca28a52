// Convolutions of mien beside oneDNN's, in turns: one thread, images NHWC, oneDNN's weights in the layout it prefers.
//
//   onednn_bench --benchmark_format=json        (ONEDNN_MAX_CPU_ISA=AVX2 and MIEN_ISA=avx2: with AVX2 alone)
#include <oneapi/dnnl/dnnl.hpp>

#include "conv2d_cases.hpp"
#include "mien/core/cpu.hpp"
#include "onednn_peer.hpp"

namespace {

using namespace mien;
using namespace mien::bench;

/// One pass of one convolution in oneDNN.
class Peer : public OnednnPeer {
 public:
  Peer(const ConvGeometry& g, ConvPass pass, dnnl::memory::data_type type) {
    using memory = dnnl::memory;
    using tag = memory::format_tag;
    const memory::dims x_dims{g.batch, g.channels, g.height, g.width};
    const memory::dims w_dims{g.filters, g.channels, g.kernel_h, g.kernel_w};
    const memory::dims y_dims{g.batch, g.filters, g.out_height(), g.out_width()};
    const memory::dims strides{g.stride_h, g.stride_w}, before{g.pad_top, g.pad_left}, after{g.pad_bottom, g.pad_right};
    const memory::desc x(x_dims, type, tag::nhwc), y(y_dims, type, tag::nhwc),
        b({g.filters}, memory::data_type::f32, tag::a);
    const memory::desc w(w_dims, type, tag::any);
    const memory::desc dw(w_dims, memory::data_type::f32, tag::any);
    const auto direct = dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, direct, x, w, b, y, strides, before, after}, engine_);
    if (pass == ConvPass::forward) {
      primitive_ = dnnl::convolution_forward(forward);
      add(DNNL_ARG_SRC, forward.src_desc());
      add(DNNL_ARG_WEIGHTS, forward.weights_desc());
      add(DNNL_ARG_BIAS, forward.bias_desc());
      add(DNNL_ARG_DST, forward.dst_desc());
    } else if (pass == ConvPass::backward_data) {
      const dnnl::convolution_backward_data::primitive_desc d({direct, x, w, y, strides, before, after}, engine_,
                                                              forward);
      primitive_ = dnnl::convolution_backward_data(d);
      add(DNNL_ARG_DIFF_DST, d.diff_dst_desc());
      add(DNNL_ARG_WEIGHTS, d.weights_desc());
      add(DNNL_ARG_DIFF_SRC, d.diff_src_desc());
    } else {
      const dnnl::convolution_backward_weights::primitive_desc d({direct, x, dw, b, y, strides, before, after}, engine_,
                                                                 forward);
      primitive_ = dnnl::convolution_backward_weights(d);
      add(DNNL_ARG_SRC, d.src_desc());
      add(DNNL_ARG_DIFF_DST, d.diff_dst_desc());
      add(DNNL_ARG_DIFF_WEIGHTS, d.diff_weights_desc());
      add(DNNL_ARG_DIFF_BIAS, d.diff_bias_desc());
    }
  }
};

template <class T>
void compare(benchmark::State& state, const Case& shape, ConvPass pass) {
  const Threads one(1);
  const ConvGeometry g = shape.geometry(64);
  MienConvolution<T> ours(g, one);
  try {
    Peer peer(g, pass, onednn_type<T>);
    take_turns(
        state, gflop(g), false, [&] { ours.run(pass); }, [&] { peer.run(); });
  } catch (const dnnl::error& error) {  // it has bfloat16 for AVX-512 alone
    state.SkipWithError(error.what());
  }
}

template <class T>
void add_all(const std::string& precision) {
  for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
    for (const Case& shape : cases()) {
      const std::string name = precision + "/" + mien::bench::name(pass) + "/" + shape.name();
      benchmark::RegisterBenchmark(name.c_str(), compare<T>, shape, pass)->UseManualTime()->Iterations(turns());
    }
}

}  // namespace

int main(int argc, char** argv) {
  return run_beside_onednn(argc, argv, [] {
    add_all<float>("fp32");
    add_all<bfloat16>("bf16");
  });
}
