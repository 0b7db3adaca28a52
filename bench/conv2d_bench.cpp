// Convolutions over the shapes of facial expression networks: all three passes in fp32 and bf16, each in turns with
// Eigen's SGEMM of the same size (pixels x filters x 9 channels), the work without the gathering.
//
//   conv2d_bench [--benchmark_filter=fp32/forward] [--benchmark_format=json] [--threads=N]
//
// Counters: GFLOP/s of mien and of the peer (padding counted as work, median over the turns), and their ratio; with one
// thread and no products in bfloat16 also `products`, the share of mien's time that its multiplications alone would
// take, at the speed of the register block on data in the first cache: what is missing to 1 are transformations and
// waiting for memory. Times are of one thread's processor time, or of the wall clock with more threads than one.
#include <Eigen/Core>
#include <string_view>

#include "conv2d_cases.hpp"

namespace {

using namespace mien;
using namespace mien::bench;

struct Sgemm {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  explicit Sgemm(const ConvGeometry& g)
      : a(Matrix::Random(g.batch * g.out_height() * g.out_width(), g.channels * g.kernel_h * g.kernel_w)),
        b(Matrix::Random(a.cols(), g.filters)),
        c(Matrix::Zero(a.rows(), g.filters)) {}
  void run() { c.noalias() = a * b; }
  Matrix a, b, c;
};

/// Seconds per multiply-add of the register block, with all that it reads and writes in the first cache.
double block_seconds() {
  const auto& blocks = kernels::detail::pick_blocks<float>(cpu_isa());
  const index_t pixels = blocks.pixels[blocks.widest], panel = blocks.lanes << blocks.widest, depth = 64;
  const auto x = random_tensor<float>(pixels * depth, 1), w = random_tensor<float>((depth + 1) * panel, 2);
  Tensor<float> out(Shape{pixels * panel});
  std::vector<const float*> from;
  std::vector<float*> to;
  for (index_t p = 0; p < pixels; ++p) {
    from.push_back(x.data() + p * depth);
    to.push_back(out.data() + p * panel);
  }
  const kernels::detail::Segment all{0, 0, depth};
  constexpr int calls = 1000;
  std::vector<double> times;
  for (int turn = 0; turn < 15; ++turn) {
    const double start = seconds(false);
    for (int i = 0; i < calls; ++i)
      blocks.correlate[blocks.widest](from.data(), &all, 1, w.data(), w.data(), to.data(), w.data());
    times.push_back(seconds(false) - start);
  }
  return median(times) / calls / static_cast<double>(pixels * panel * depth);
}

/// Multiplications that a pass takes without AMX.
double products(const ConvGeometry& g, ConvPass pass) {
  const auto& blocks = kernels::detail::pick_blocks<float>(cpu_isa());
  const kernels::detail::WinogradPlan plan(pass == ConvPass::backward_data ? kernels::detail::backward_correlation(g)
                                                                           : kernels::detail::forward_correlation(g),
                                           blocks);
  const bool fits =
      pass == ConvPass::backward_weights ? kernels::detail::WinogradGradientPlan(g, blocks).fits : plan.fits;
  return fits ? static_cast<double>(plan.elements * plan.tiles * g.channels * g.filters) : g.multiply_adds();
}

template <class T>
void convolution(benchmark::State& state, const Case& shape, ConvPass pass, const Threads& threads) {
  const ConvGeometry g = shape.geometry(64);
  MienConvolution<T> ours(g, threads);
  Sgemm peer(g);
  take_turns(
      state, gflop(g), threads.count() > 1, [&] { ours.run(pass); }, [&] { peer.run(); });
  if (threads.count() > 1 || (std::is_same_v<T, bfloat16> && cpu_isa() >= Isa::avx512_bf16)) return;
  const double taken = 2e-9 * g.multiply_adds() / state.counters["GFLOP/s"].value;
  state.counters["products"] = products(g, pass) * block_seconds() / taken;
}

template <class T>
void add_all(const std::string& precision, const Threads& threads) {
  for (ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
    for (const Case& shape : cases()) {
      const std::string name = precision + "/" + mien::bench::name(pass) + "/" + shape.name();
      benchmark::RegisterBenchmark(
          name.c_str(),
          [&shape, pass, &threads](benchmark::State& state) { convolution<T>(state, shape, pass, threads); })
          ->UseManualTime()
          ->Iterations(turns());
    }
}

}  // namespace

int main(int argc, char** argv) {
  int count = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with("--threads=")) continue;
    count = std::atoi(argv[i] + 10);
    std::copy(argv + i + 1, argv + argc, argv + i);
    --argc;
    --i;
  }
  Eigen::setNbThreads(1);
  const Threads threads(count);
  benchmark::AddCustomContext("isa", std::string(to_string(cpu_isa())));
  benchmark::AddCustomContext("threads", std::to_string(threads.count()));
  add_all<float>("fp32", threads);
  add_all<bfloat16>("bf16", threads);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
