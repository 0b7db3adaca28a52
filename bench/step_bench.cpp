// Whole steps of training and inference, for taking turns with programs that are not C++: reads requests, a line each,
// and answers with a line each. bench/peers/compare.py speaks to it, and to the peers, which answer the same requests.
//
//   train NETWORK BATCH PRECISION THREADS     prepares forward, loss, backward, optimizer    -> ready
//   infer NETWORK BATCH PRECISION THREADS                                                    -> ready
//   run SECONDS                               one step untimed, then steps for that long     -> STEPS SECONDS
//   memory                                    the largest that this process has been, in kB  -> KILOBYTES
//
// and, of mien alone,
//
//   epoch NETWORK BATCH PRECISION THREADS     fit() itself, with the recipe's augmentation   -> ready
//   augment NAME                              steps are single images, one thread            -> ready
//   conv PASS SIZE CHANNELS FILTERS PADDING PRECISION THREADS    one 3x3 convolution of 64 images
//   cases                                     its shapes        -> SIZE CHANNELS FILTERS PADDING, SIZE ...
//
// PRECISION is fp32 or bf16. What cannot be done is answered by "error: why".
#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "conv2d_cases.hpp"
#include "fer/networks.hpp"
#include "mien/mien.hpp"

namespace {

using namespace mien;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Turn {
  index_t steps = 0;
  double seconds = 0;
};

class Task {
 public:
  virtual ~Task() = default;
  virtual Turn run(double seconds) {
    step();
    Turn turn;
    const auto start = Clock::now();
    do {
      step();
      ++turn.steps;
      turn.seconds = since(start);
    } while (turn.seconds < seconds);
    return turn;
  }

 protected:
  virtual void step() = 0;
};

/// The recipe's optimizer at a tenth of its rate: random labels must not make weights grow until they overflow.
Optimizer slow(const fer::Recipe& recipe) {
  Optimizer result = recipe.optimizer.method() == Optimizer::Method::sgd
                         ? Optimizer(Sgd{{.learning_rate = recipe.optimizer.learning_rate() / 10,
                                          .momentum = recipe.optimizer.sgd().momentum,
                                          .weight_decay = recipe.optimizer.weight_decay(),
                                          .nesterov = recipe.optimizer.sgd().nesterov}})
                         : Optimizer(Adam{{.learning_rate = recipe.optimizer.learning_rate() / 10,
                                           .epsilon = recipe.optimizer.adam().epsilon,
                                           .weight_decay = recipe.optimizer.weight_decay()}});
  result.decay_only_weights = recipe.optimizer.decay_only_weights;
  return result;
}

template <class T>
Sequential<T> built(const std::string& network) {
  Sequential<T> net = fer::make_network<T>(network);
  const index_t side = fer::recipe_of(network).input;
  net.build({side, side, 1}, 1);
  return net;
}

template <class T>
class Training : public Task {
 public:
  using P = parameter_t<T>;

  Training(const std::string& network, index_t batch, int threads)
      : threads_(threads),
        net_(built<T>(network)),
        workspace_(threads_),
        loss_{fer::recipe_of(network).label_smoothing},
        optimizer_(slow(fer::recipe_of(network)), std::as_const(net_).parameters()),
        x_(net_.input_shape().with_batch(batch)),
        y_(net_.output_shape().with_batch(batch)),
        dy_(y_.shape()) {
    for (const auto& p : net_.parameters()) {
      gradients_.emplace_back(p.value.shape());
      views_.push_back(gradients_.back().view());
    }
    for (std::uint64_t i = 0; i < 4; ++i) {
      inputs_.push_back(bench::random_tensor<float>(x_.size(), i + 1));
      targets_.emplace_back(y_.shape());
      const index_t classes = y_.shape()[1];
      std::fill(targets_.back().begin(), targets_.back().end(), 0.0f);
      for (index_t r = 0; r < batch; ++r) targets_.back()[r * classes + (r * 5 + r / 7) % classes] = 1;
    }
  }

 private:
  void step() override {
    const std::size_t i = number_ % inputs_.size();
    // As fit() gets its batches: in float.
    for (index_t k = 0; k < x_.size(); ++k) x_[k] = T(inputs_[i][k]);
    net_.forward(x_.view(), y_.view(), workspace_, 1, number_);
    loss_(y_.view(), targets_[i].view(), dy_.view());
    net_.backward(x_.view(), y_.view(), dy_.view(), {}, views_, workspace_, 1, number_);
    optimizer_.step(net_.parameters(), views_, optimizer_.optimizer().learning_rate(), threads_);
    auto parameters = net_.parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p)
      if (parameters[p].role == Role::statistic)
        std::copy_n(gradients_[p].data(), gradients_[p].size(), parameters[p].value.data());
    ++number_;
  }

  Threads threads_;
  Sequential<T> net_;
  Workspace workspace_;
  CrossEntropy loss_;
  OptimizerState<P> optimizer_;
  std::vector<Tensor<P>> gradients_;
  std::vector<TensorView<P>> views_;
  std::vector<Tensor<float>> inputs_, targets_;
  Tensor<T> x_, y_, dy_;
  std::uint64_t number_ = 0;
};

template <class T>
class Inference : public Task {
 public:
  Inference(const std::string& network, index_t batch, int threads)
      : threads_(threads),
        net_(built<T>(network), batch),
        workspace_(threads_),
        x_(bench::random_tensor<T>(net_.network().input_shape().with_batch(batch).size(), 1)),
        y_(net_.network().output_shape().with_batch(batch)) {}

 private:
  void step() override {
    const TensorView<const T> x(x_.data(), net_.network().input_shape().with_batch(y_.shape()[0]));
    net_.infer(x, y_.view(), workspace_);
  }

  Threads threads_;
  Prepared<T> net_;
  Workspace workspace_;
  Tensor<T> x_, y_;
};

/// Random faces: as many as FER2013 has for training, unless told otherwise.
ByteDataset faces(index_t count = 28709) {
  constexpr index_t side = 48;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * side * side));
  std::vector<int> labels(static_cast<std::size_t>(count));
  std::uint64_t state = 1;
  for (std::uint8_t& p : pixels) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    p = static_cast<std::uint8_t>(state >> 56);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int>(i % fer::class_count);
  return {std::move(pixels), {side, side, 1}, std::move(labels), fer::class_count, 0.507f, 0.255f};
}

/// fit() in a thread of its own that stands still between turns. An epoch has eight batches, so that a turn of a second
/// or two contains what happens between epochs; in training it happens once in 224 batches.
template <class T>
class Epochs : public Task, TrainingObserver {
 public:
  Epochs(const std::string& network, index_t batch, int threads)
      : recipe_(fer::recipe_of(network)), faces_(faces(8 * batch)), threads_(threads), net_(built<T>(network)) {
    recipe_.augmentation.crop = recipe_.input;
    augmented_.emplace(faces_, recipe_.augmentation);
    options_.epochs = 100000;
    options_.batch = batch;
    options_.threads = &threads_;
    options_.schedule = recipe_.schedule;
    options_.loss.label_smoothing = recipe_.label_smoothing;
    options_.average_decay = recipe_.average_decay;
    options_.drop_last = true;
    options_.observer = this;
    worker_ = std::thread([this] { work(); });
  }
  ~Epochs() override {
    set(State::stopping);
    worker_.join();
  }
  Turn run(double seconds) override {
    seconds_ = seconds;
    skipped_ = 0;
    turn_ = {};
    set(State::running);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state_ != State::running; });
    if (state_ == State::failed) fail<Error>(error_);
    return turn_;
  }

 private:
  enum class State { waiting, running, stopping, failed };
  struct Stopped {};
  /// Batches that were prepared while training stood still, and one more, do not count.
  static constexpr int ahead = 4;

  void step() override {}
  void set(State state) {
    {
      const std::lock_guard lock(mutex_);
      state_ = state;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state_ != State::waiting; });
    if (state_ == State::stopping) throw Stopped{};
  }
  void batch(const BatchReport&) override {
    if (skipped_ < ahead) {
      if (++skipped_ == ahead) start_ = Clock::now();
      return;
    }
    ++turn_.steps;
    turn_.seconds = since(start_);
    if (turn_.seconds < seconds_) return;
    set(State::waiting);
    wait();
  }
  void work() {
    try {
      wait();
      fit(net_, slow(recipe_), *augmented_, options_);
    } catch (const Stopped&) {
    } catch (const std::exception& e) {
      error_ = e.what();
      set(State::failed);
    }
  }

  fer::Recipe recipe_;
  ByteDataset faces_;
  std::optional<Augmented> augmented_;
  Threads threads_;
  Sequential<T> net_;
  FitOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::waiting;
  std::string error_;
  Turn turn_;
  double seconds_ = 0;
  int skipped_ = 0;
  Clock::time_point start_{};
  std::thread worker_;
};

class Augmenting : public Task {
 public:
  explicit Augmenting(const std::string& name)
      : faces_(faces()),
        augmented_(faces_, fer::augmentation_of(name, 44)),
        image_(static_cast<std::size_t>(augmented_.shape().size())) {}

 private:
  void step() override {
    augmented_.get(next_ % augmented_.size(), {1, static_cast<std::uint64_t>(next_ / augmented_.size())}, image_);
    ++next_;
  }

  ByteDataset faces_;
  Augmented augmented_;
  std::vector<float> image_;
  index_t next_ = 0;
};

template <class T>
class Convolving : public Task {
 public:
  Convolving(const bench::Case& shape, kernels::ConvPass pass, int threads)
      : threads_(threads), convolution_(shape.geometry(64), threads_), pass_(pass) {}

 private:
  void step() override { convolution_.run(pass_); }

  Threads threads_;
  bench::MienConvolution<T> convolution_;
  kernels::ConvPass pass_;
};

template <template <class> class Kind, class... Arguments>
std::unique_ptr<Task> of_precision(const std::string& precision, Arguments&&... arguments) {
  if (precision == "fp32") return std::make_unique<Kind<float>>(std::forward<Arguments>(arguments)...);
  if (precision == "bf16") return std::make_unique<Kind<bfloat16>>(std::forward<Arguments>(arguments)...);
  fail<ArgumentError>("precision '" + precision + "', expected fp32 or bf16");
}

std::unique_ptr<Task> make_task(const std::string& kind, std::istringstream& words) {
  std::string name, precision;
  index_t batch = 0;
  int threads = 1;
  if (kind == "augment" && words >> name) return std::make_unique<Augmenting>(name);
  if (kind == "conv") {
    bench::Case shape{};
    words >> name >> shape.size >> shape.channels >> shape.filters >> shape.padding >> precision >> threads;
    for (const auto pass :
         {kernels::ConvPass::forward, kernels::ConvPass::backward_data, kernels::ConvPass::backward_weights}) {
      if (words && bench::name(pass) == name) return of_precision<Convolving>(precision, shape, pass, threads);
    }
  } else if (words >> name >> batch >> precision >> threads && batch > 0) {
    if (kind == "train") return of_precision<Training>(precision, name, batch, threads);
    if (kind == "infer") return of_precision<Inference>(precision, name, batch, threads);
    if (kind == "epoch") return of_precision<Epochs>(precision, name, batch, threads);
  }
  fail<ArgumentError>("not understood: " + words.str());
}

std::string answer(const std::string& line, std::unique_ptr<Task>& task) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  if (kind == "memory") {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return std::to_string(usage.ru_maxrss);
  }
  if (kind == "cases") {
    std::string list;
    for (const bench::Case& c : bench::cases()) {
      list += (list.empty() ? "" : ", ") + std::to_string(c.size) + " " + std::to_string(c.channels) + " " +
              std::to_string(c.filters) + " " + std::to_string(c.padding);
    }
    return list;
  }
  if (kind != "run") {
    task.reset();  // before the next one takes memory
    task = make_task(kind, words);
    return "ready";
  }
  double seconds = 0;
  words >> seconds;
  if (!task) fail<ArgumentError>("nothing to run");
  const Turn turn = task->run(seconds);
  return std::to_string(turn.steps) + " " + std::to_string(turn.seconds);
}

}  // namespace

int main() {
  std::unique_ptr<Task> task;
  for (std::string line; std::getline(std::cin, line);) {
    std::string reply;
    try {
      reply = answer(line, task);
    } catch (const std::exception& e) {
      reply = std::string("error: ") + e.what();
    }
    std::cout << reply << std::endl;
  }
  return 0;
}
