// Convolutions of mien beside oneDNN's, in turns: one thread, images NHWC, oneDNN's weights in the layout it prefers.
//
//   onednn_bench --benchmark_format=json        (ONEDNN_MAX_CPU_ISA=AVX2 and MIEN_ISA=avx2 compare with AVX2 only)
#include <unistd.h>

#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "conv2d_cases.hpp"

namespace {

using namespace mien;
using namespace mien::bench;

/// One pass of one convolution in oneDNN.
class Peer {
 public:
  Peer(const ConvGeometry& g, ConvPass pass, dnnl::memory::data_type type)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
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
  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  void add(int argument, const dnnl::memory::desc& desc) {
    dnnl::memory memory(desc, engine_);
    // Random operands: a processor may draw less power, and so run faster, on zeros.
    const std::size_t bytes = desc.get_size();
    auto* data = static_cast<unsigned char*>(memory.get_data_handle());
    std::uint32_t state = 1;
    if (desc.data_type() == dnnl::memory::data_type::bf16) {
      for (std::size_t i = 0; i + 1 < bytes; i += 2) {
        state = state * 1664525U + 1013904223U;
        const bfloat16 value(static_cast<float>(state >> 8) / 8388608.0F - 1.0F);
        std::copy_n(reinterpret_cast<const unsigned char*>(&value), 2, data + i);
      }
    } else {
      for (std::size_t i = 0; i + 3 < bytes; i += 4) {
        state = state * 1664525U + 1013904223U;
        const float value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
        std::copy_n(reinterpret_cast<const unsigned char*>(&value), 4, data + i);
      }
    }
    arguments_.insert({argument, memory});
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

template <class T>
void compare(benchmark::State& state, const Case& shape, ConvPass pass) {
  const Threads one(1);
  const ConvGeometry g = shape.geometry(64);
  MienConvolution<T> ours(g, one);
  Peer peer(g, pass, std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16);
  take_turns(
      state, 2e-9 * g.multiply_adds(), false, [&] { ours.run(pass); }, [&] { peer.run(); });
}

template <class T>
void add_all(const std::string& precision) {
  for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
    for (const Case& shape : cases()) {
      const std::string name = precision + "/" + mien::bench::name(pass) + "/" + shape.name();
      benchmark::RegisterBenchmark(name.c_str(), compare<T>, shape, pass)->UseManualTime()->Iterations(15);
    }
}

}  // namespace

int main(int argc, char** argv) {
  // OpenMP reads this before main() runs, so the program starts itself once more.
  if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    setenv("OMP_NUM_THREADS", "1", 1);
    execv("/proc/self/exe", argv);
  }
  add_all<float>("fp32");
  add_all<bfloat16>("bf16");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
