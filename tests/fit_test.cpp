// Training: it learns, in the same way for any number of threads, and goes on after an interruption as if there had
// been none.
#include "mien/train/fit.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "mien/train/features.hpp"
#include "mien/train/progress.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;
using test::message_of;

namespace {

/// 6x6 pictures with a bright bar, upright, lying or slanted (the class), and noise.
TensorDataset bars(index_t n, std::uint64_t seed) {
  Tensor<float> images(Shape{n, 6, 6, 1});
  std::vector<int> labels;
  const Random random(seed, Stream::user);
  for (index_t i = 0; i < n; ++i) {
    const int label = static_cast<int>(i % 3);
    const auto at = static_cast<index_t>(random.uniform(static_cast<std::uint64_t>(1'000'000 + i), 0, 5.99f));
    labels.push_back(label);
    for (index_t k = 0; k < 6; ++k) {
      const index_t row = label == 0 ? k : label == 1 ? at : (k + at) % 6;
      const index_t column = label == 0 ? at : k;
      images[(i * 6 + row) * 6 + column] = 1;
    }
    for (index_t k = 0; k < 36; ++k) images[i * 36 + k] += 0.1f * random.normal(static_cast<std::uint64_t>(i * 36 + k));
  }
  return {std::move(images), labels, 3};
}

template <class T = float>
Sequential<T> network(float dropout = 0.2f) {
  using S = Sequential<T>;
  S net;
  net.add("features", S{Conv2d{.filters = 6, .padding = 1}, BatchNorm2d{}, Relu{}, MaxPool2d{2}});
  net.add("classifier", S{Flatten{}, Dropout{dropout}, Dense{8}, Relu{}, Dropout{dropout}, Dense{3}});
  net.build({6, 6, 1}, 4);
  return net;
}

template <class T>
bool same(const Sequential<T>& a, const Sequential<T>& b) {
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    if (!test::same_bits(a.parameters()[i].value, b.parameters()[i].value)) return false;
  return true;
}

/// Equal but for the times.
bool same(const History& a, const History& b) {
  if (a.epochs.size() != b.epochs.size() || a.best_epoch != b.best_epoch || a.best_accuracy != b.best_accuracy ||
      a.stopped_early != b.stopped_early)
    return false;
  for (std::size_t i = 0; i < a.epochs.size(); ++i) {
    const EpochReport &p = a.epochs[i], &q = b.epochs[i];
    if (p.epoch != q.epoch || p.train_loss != q.train_loss || p.train_accuracy != q.train_accuracy ||
        p.validation_loss != q.validation_loss || p.validation_accuracy != q.validation_accuracy ||
        p.validation_macro_f1 != q.validation_macro_f1 || p.learning_rate != q.learning_rate)
      return false;
  }
  return true;
}

struct Interrupted {};

/// Stops like a kill would: in the middle of everything.
struct Interrupter : TrainingObserver {
  int batches_left;
  explicit Interrupter(int n) : batches_left(n) {}
  void batch(const BatchReport&) override {
    if (--batches_left < 0) throw Interrupted{};
  }
};

struct Recorder : TrainingObserver {
  std::vector<BatchReport> batches;
  std::vector<EpochReport> epochs;
  int stop_after = 1000;
  void batch(const BatchReport& r) override { batches.push_back(r); }
  bool epoch(const EpochReport& r, const History&) override {
    epochs.push_back(r);
    return r.epoch < stop_after;
  }
};

const TensorDataset& train_set() {
  static const TensorDataset data = bars(50, 1);
  return data;
}
const TensorDataset& validation_set() {
  static const TensorDataset data = bars(30, 2);
  return data;
}

const Optimizer adam = Adam{{.learning_rate = 0.01f}};

}  // namespace

TEST_CASE("fit: the loss falls, validation is what evaluate() says") {
  auto net = network();
  Recorder recorder;
  const History history =
      fit(net, adam, train_set(),
          {.epochs = 12, .batch = 16, .validation = &validation_set(), .seed = 3, .observer = &recorder});
  REQUIRE(history.epochs.size() == 12);
  CHECK(history.epochs.front().train_loss > 0.8);
  CHECK(history.epochs.back().train_loss < 0.5);
  CHECK(history.epochs.back().validation_accuracy > 0.8);
  Workspace workspace;
  const Evaluation e = evaluate(net, validation_set(), workspace, 64);
  CHECK(history.epochs.back().validation_loss == e.loss());
  CHECK(history.epochs.back().validation_accuracy == e.accuracy());
  CHECK(history.epochs.back().validation_macro_f1 == e.macro_f1());
  double best = 0;
  int best_epoch = 0;
  for (const EpochReport& r : history.epochs) {
    if (r.validation_accuracy > best) best_epoch = r.epoch;
    best = std::max(best, r.validation_accuracy);
    CHECK(r.learning_rate == doctest::Approx(0.01));
  }
  CHECK(history.best_accuracy == best);
  CHECK(history.best_epoch == best_epoch);
  CHECK_FALSE(history.stopped_early);
  CHECK(recorder.batches.size() == 48);
  CHECK(recorder.epochs.size() == 12);
}

TEST_CASE("fit: bfloat16 learns too") {
  auto net = network<bfloat16>();
  const History history =
      fit(net, adam, train_set(), {.epochs = 12, .batch = 16, .validation = &validation_set(), .seed = 3});
  CHECK(history.epochs.back().train_loss < 0.6);
  CHECK(history.epochs.back().validation_accuracy > 0.7);
}

TEST_CASE_TEMPLATE("fit: the same bits for 1, 2 and 3 threads, others for another seed", T, float, bfloat16) {
  FitOptions options{.epochs = 2, .batch = 16, .validation = &validation_set(), .seed = 5, .average_decay = 0.9f};
  options.mixup_alpha = 0.4f;
  auto expected = network<T>();
  const History one = fit(expected, adam, train_set(), options);
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    options.threads = &threads;
    auto net = network<T>();
    CHECK(same(fit(net, adam, train_set(), options), one));
    CHECK(same(net, expected));
  }
  options.threads = nullptr;
  options.seed = 6;
  auto other = network<T>();
  fit(other, adam, train_set(), options);
  CHECK_FALSE(same(other, expected));
}

TEST_CASE("fit: interrupted behind any batch and resumed, it ends bit-identical") {
  const std::string path = "fit_test.checkpoint";
  struct Variant {
    const char* name;
    Optimizer optimizer;
    FitOptions options;
  };
  std::vector<Variant> variants;
  const Optimizer sgd = Sgd{{.learning_rate = 0.05f, .momentum = 0.9f, .weight_decay = 1e-3f, .nesterov = true}};
  variants.push_back({"plain", sgd, {.epochs = 3, .batch = 16, .seed = 5}});
  variants.push_back({"all",
                      adam,
                      {.epochs = 3,
                       .batch = 16,
                       .validation = &validation_set(),
                       .seed = 6,
                       .schedule = Schedule::reduce_on_plateau(0.5, 0),
                       .average_decay = 0.9f,
                       .mixup_alpha = 0.4f,
                       .drop_last = true,
                       .restore_best = true}});
  variants.push_back({"cosine and early stop",
                      AdamW{{.learning_rate = 1e-9f}},
                      {.epochs = 5,
                       .batch = 16,
                       .validation = &validation_set(),
                       .seed = 7,
                       .schedule = Schedule::cosine(1),
                       .patience = 2}});
  for (Variant& v : variants) {
    CAPTURE(v.name);
    auto expected = network();
    const History history = fit(expected, v.optimizer, train_set(), v.options);
    CHECK(history.stopped_early == (v.options.patience > 0));
    const int batches = static_cast<int>(history.epochs.size()) * (v.options.drop_last ? 3 : 4);
    v.options.checkpoint = path;
    v.options.resume = true;
    for (const index_t every : {0, 1, 2}) {
      v.options.checkpoint_batches = every;
      for (int stop = 0; stop < batches; stop += every == 1 ? 1 : 3) {
        CAPTURE(every);
        CAPTURE(stop);
        std::remove(path.c_str());
        Interrupter first(stop), second(2);
        auto net = network();
        v.options.observer = &first;
        CHECK_THROWS_AS(fit(net, v.optimizer, train_set(), v.options), Interrupted);
        v.options.observer = &second;  // and once more, soon after
        auto again = network();
        try {
          fit(again, v.optimizer, train_set(), v.options);
        } catch (const Interrupted&) {
        }
        v.options.observer = nullptr;
        auto resumed = network();
        CHECK(same(fit(resumed, v.optimizer, train_set(), v.options), history));
        CHECK(same(resumed, expected));
      }
    }
    // A run that has ended is over: resumed, it gives its result again.
    auto over = network();
    CHECK(same(fit(over, v.optimizer, train_set(), v.options), history));
    CHECK(same(over, expected));
    v.options.observer = nullptr;
    v.options.checkpoint.clear();
  }
  std::remove(path.c_str());
}

TEST_CASE("fit: views of other shapes than the network's are refused, not misread") {
  const auto net = network();
  const TensorDataset& whole = train_set();
  const TensorDataset cut(Tensor<float>(Shape{whole.size(), 5, 5, 1}),
                          std::vector<int>(static_cast<std::size_t>(whole.size())), 3);
  const Dataset* views[] = {&whole, &cut};
  Workspace workspace;
  CHECK_THROWS_AS(for_each_prediction(net, std::span<const Dataset* const>(views), 8, workspace, [](auto&&...) {}),
                  ShapeError);
}

TEST_CASE("fit: a batch larger than the data costs no memory, and settings may be of any encoding") {
  const std::string path = "fit_test.large";
  std::remove(path.c_str());
  Optimizer open = adam;
  open.clip_norm = std::numeric_limits<float>::infinity();  // no limit
  FitOptions options{
      .epochs = 1, .batch = std::numeric_limits<index_t>::max(), .checkpoint = path, .settings = "J\xf6rg"};
  auto large = network();
  CHECK(fit(large, open, train_set(), options).epochs.size() == 1);
  options.resume = true;
  auto again = network();
  CHECK_NOTHROW(fit(again, open, train_set(), options));
  CHECK(same(again, large));
  std::remove(path.c_str());
}

TEST_CASE("fit: a checkpoint of other settings is refused") {
  const std::string path = "fit_test.settings";
  std::remove(path.c_str());
  const FitOptions options{.epochs = 1, .batch = 16, .seed = 5, .checkpoint = path, .resume = true, .settings = "d"};
  auto net = network();
  fit(net, adam, train_set(), options);
  const auto refused = [&](const Optimizer& optimizer, const FitOptions& o, auto&& change) {
    auto other = network();
    change(other);
    const auto before = other;
    const std::string message = message_of<ArgumentError>([&] { fit(other, optimizer, train_set(), o); });
    CHECK(same(other, before));
    return contains(message, path) && contains(message, "other settings");
  };
  const auto nothing = [](auto&) {};
  FitOptions o = options;
  o.seed = 6;
  CHECK(refused(adam, o, nothing));
  o = options;
  o.epochs = 2;
  CHECK(refused(adam, o, nothing));
  o = options;
  o.batch = 17;
  CHECK(refused(adam, o, nothing));
  o = options;
  o.settings = "e";
  CHECK(refused(adam, o, nothing));
  o = options;
  o.schedule = Schedule::cosine(1);
  CHECK(refused(adam, o, nothing));
  o = options;
  o.average_decay = 0.5f;
  CHECK(refused(adam, o, nothing));
  o = options;
  o.loss.label_smoothing = 0.1f;
  CHECK(refused(adam, o, nothing));
  o = options;
  o.loss.class_weights = {1, 2, 1};
  CHECK(refused(adam, o, nothing));
  o = options;
  o.restore_best = true;
  CHECK(refused(adam, o, nothing));
  CHECK(refused(adam, options, [](auto& other) { other.freeze("features"); }));
  CHECK(refused(Adam{{.learning_rate = 0.01000001f}}, options, nothing));
  CHECK(refused(Adam{{.learning_rate = 0.01f, .weight_decay = 1e-9f}}, options, nothing));
  CHECK(refused(Adam{{.learning_rate = 0.01f, .beta2 = 0.99f}}, options, nothing));
  CHECK(refused(Sgd{{.learning_rate = 0.01f}}, options, nothing));
  Optimizer grouped = adam;
  grouped.groups.push_back({.match = "classifier", .learning_rate_scale = 10});
  CHECK(refused(grouped, options, nothing));
  Optimizer clipped = adam;
  clipped.clip_norm = 1;
  CHECK(refused(clipped, options, nothing));
  // A network with the same parameters that is another one all the same, and other arithmetic.
  const auto refused_network = [&](auto other) {
    return contains(message_of<ArgumentError>([&] { fit(other, adam, train_set(), options); }), "other settings");
  };
  CHECK(refused_network(network(0.3f)));
  CHECK(refused_network(network<bfloat16>()));

  // Another network, something that is no checkpoint, a damaged one.
  Sequential<float> wide{Flatten{}, Dense{3}};
  wide.build({6, 6, 1});
  CHECK_THROWS_AS(fit(wide, adam, train_set(), options), Error);
  save(net, path);
  CHECK(contains(message_of<FormatError>([&] { fit(net, adam, train_set(), options); }), "not a checkpoint"));
  std::remove(path.c_str());
  fit(net, adam, train_set(), options);
  auto bytes = read_file(path, 1 << 20);
  bytes.resize(bytes.size() - 5);
  write_file_atomically(path, bytes);
  CHECK_THROWS_AS(fit(net, adam, train_set(), options), FormatError);
  std::remove(path.c_str());
}

TEST_CASE("fit: early stopping, an observer that stops, and the best weights") {
  // A rate so high that it gets worse after a while, or never better.
  auto net = network();
  FitOptions options{.epochs = 30, .batch = 16, .validation = &validation_set(), .patience = 3, .restore_best = true};
  const std::string path = "fit_test.best";
  options.model = path;
  options.info.name = "bars";
  const History history = fit(net, adam, train_set(), options);
  CHECK(history.stopped_early);
  CHECK(static_cast<int>(history.epochs.size()) == history.best_epoch + 3);
  Workspace workspace;
  CHECK(evaluate(net, validation_set(), workspace, 64).accuracy() == history.best_accuracy);
  const auto& best = history.epochs[static_cast<std::size_t>(history.best_epoch - 1)];
  CHECK(evaluate(net, validation_set(), workspace, 64).loss() == best.validation_loss);
  const Model<float> saved = load(path);
  CHECK(same(saved.network, net));
  CHECK(saved.info.name == "bars");
  // Or the last epoch's weights, though they are not the best.
  options.keep_last = true;
  options.restore_best = false;
  for (const float decay : {0.0f, 0.9f}) {
    options.average_decay = decay;
    auto last = network();
    fit(last, adam, train_set(), options);
    const Model<float> kept = load(path);
    CHECK(same(kept.network, last));
    CHECK_FALSE(same(kept.network, net));
  }
  {
    // A run that kept its best epoch is not gone on with as one that keeps the last: what it saved is another's.
    auto run = network();
    FitOptions resumed{.epochs = 1, .batch = 16, .checkpoint = "fit_test.kept", .resume = true};
    fit(run, adam, train_set(), resumed);
    resumed.keep_last = true;
    CHECK(contains(message_of<ArgumentError>([&] { fit(run, adam, train_set(), resumed); }), "keep last"));
    std::remove("fit_test.kept");
  }
  std::remove(path.c_str());
  // Trained for exactly as many epochs, it is that net.
  auto shorter = network();
  fit(shorter, adam, train_set(), {.epochs = history.best_epoch, .batch = 16});
  CHECK(same(shorter, net));

  Recorder recorder;
  recorder.stop_after = 2;
  auto stopped = network();
  CHECK(fit(stopped, adam, train_set(), {.epochs = 9, .batch = 16, .observer = &recorder}).epochs.size() == 2);
  auto two = network();
  fit(two, adam, train_set(), {.epochs = 2, .batch = 16});
  CHECK(same(stopped, two));
}

TEST_CASE("fit: frozen parts stay, and cached features give the same bits") {
  auto whole = network();
  fit(whole, adam, train_set(), {.epochs = 1, .batch = 16});
  whole.freeze("features");
  const auto before = whole;
  auto cached = whole;
  const index_t layers = whole.frozen_prefix();
  REQUIRE(layers == 5);  // the four, and the Flatten behind them
  Workspace workspace;
  const CachedFeatures features(cached, layers, train_set(), workspace, 7);
  for (const index_t wrong : {index_t{-1}, cached.layer_count() + 1})
    CHECK_THROWS_AS(CachedFeatures(cached, wrong, train_set(), workspace), ArgumentError);
  const CachedFeatures validation(cached, layers, validation_set(), workspace);
  CHECK(features.shape() == Shape{54});
  CHECK(features.size() == 50);
  CHECK(features.label(4) == train_set().label(4));
  FitOptions options{.epochs = 3,
                     .batch = 16,
                     .validation = &validation_set(),
                     .seed = 8,
                     .average_decay = 0.9f,
                     .restore_best = true};
  const History a = fit(whole, AdamW{{.learning_rate = 0.01f, .weight_decay = 0.1f}}, train_set(), options);
  options.validation = &validation;
  options.first_layer = layers;
  const History b = fit(cached, AdamW{{.learning_rate = 0.01f, .weight_decay = 0.1f}}, features, options);
  CHECK(same(a, b));
  CHECK(same(whole, cached));
  for (std::size_t i = 0; i < before.parameters().size(); ++i) {
    const auto& p = before.parameters()[i];
    CAPTURE(p.name);
    CHECK(test::same_bits(p.value, whole.parameters()[i].value) == covers("features", p.name));
  }
  // What is skipped must be frozen.
  auto open = network();
  CHECK(
      contains(message_of<ArgumentError>([&] { fit(open, adam, features, {.first_layer = layers}); }), "first_layer"));
  open.freeze("");
  CHECK(contains(message_of<ArgumentError>([&] { fit(open, adam, train_set(), {}); }), "frozen"));
}

TEST_CASE("fit: a loss that is not finite stops it, names the layer and keeps the checkpoint") {
  const std::string path = "fit_test.nonfinite";
  std::remove(path.c_str());
  Tensor<float> images = train_set().images();
  std::vector<int> labels;
  for (index_t i = 0; i < 50; ++i) labels.push_back(train_set().label(i));
  const FitOptions options{.epochs = 4, .batch = 16, .seed = 1, .checkpoint = path, .checkpoint_batches = 1};
  // Steps so large that float overflows within a few batches.
  auto net = network();
  const std::string message = message_of<NumericError>(
      [&] { fit(net, Sgd{{.learning_rate = 1e38f}}, TensorDataset(images, labels, 3), options); });
  CHECK(contains(message, "not finite"));
  // Damaged data: the first layer's output.
  images[7 * 36 + 3] = std::numeric_limits<float>::infinity();
  const TensorDataset damaged(images, labels, 3);
  auto hurt = network();
  std::remove(path.c_str());
  {
    auto good = network();
    FitOptions one = options;
    one.epochs = 1;
    fit(good, adam, train_set(), one);
  }
  const auto kept = read_file(path, 1 << 20);
  const std::string named =
      message_of<NumericError>([&] { fit(hurt, adam, damaged, {.batch = 64, .checkpoint = path}); });
  CHECK(contains(named, "layer 'features.0' (Conv2d)"));
  CHECK(contains(named, "epoch 1, batch 1"));
  CHECK(read_file(path, 1 << 20) == kept);
  std::remove(path.c_str());
}

TEST_CASE("fit: batches, full or not") {
  Recorder recorder;
  auto net = network();
  fit(net, adam, train_set(), {.epochs = 2, .batch = 16, .observer = &recorder});
  REQUIRE(recorder.batches.size() == 8);
  CHECK(recorder.batches[3].batch == 4);
  CHECK(recorder.batches[3].batches == 4);
  CHECK(recorder.batches[4].epoch == 2);
  CHECK(recorder.batches[4].batch == 1);
  CHECK(recorder.batches[7].loss == recorder.epochs[1].train_loss);
  Recorder full;
  fit(net, adam, train_set(), {.epochs = 1, .batch = 16, .drop_last = true, .observer = &full});
  CHECK(full.batches.size() == 3);
  CHECK(full.batches[0].batches == 3);
}

TEST_CASE("fit: what cannot be trained is refused") {
  auto net = network();
  const TensorDataset empty(Tensor<float>(Shape{0, 6, 6, 1}), {}, 3);
  const TensorDataset small(Tensor<float>(Shape{4, 5, 5, 1}), {0, 1, 2, 0}, 3);
  const TensorDataset classes(Tensor<float>(Shape{4, 6, 6, 1}), {0, 1, 2, 0}, 4);
  const auto refused = [&]<class E>(E*, const Dataset& data, const FitOptions& options) {
    return message_of<E>([&] { fit(net, adam, data, options); });
  };
  constexpr ArgumentError* argument = nullptr;
  constexpr ShapeError* shape = nullptr;
  CHECK(contains(refused(argument, empty, {}), "training set is empty"));
  CHECK(contains(refused(argument, train_set(), {.validation = &empty}), "validation set is empty"));
  CHECK(contains(refused(shape, small, {}), "(5, 5, 1)"));
  CHECK(contains(refused(shape, train_set(), {.validation = &small}), "validation"));
  CHECK(contains(refused(shape, classes, {}), "4 classes"));
  CHECK(contains(refused(argument, train_set(), {.epochs = 0}), "epochs"));
  CHECK(contains(refused(argument, train_set(), {.batch = 0}), "batch"));
  CHECK(contains(refused(argument, train_set(), {.batch = 64, .drop_last = true}), "no full batch"));
  CHECK(contains(refused(argument, train_set(), {.patience = -1}), "patience"));
  CHECK(contains(refused(argument, train_set(), {.first_layer = -1}), "first_layer"));
  CHECK(contains(refused(argument, train_set(), {.first_layer = 10}), "first_layer"));
  CHECK_THROWS_AS(fit(net, adam, train_set(), {.average_decay = 1.0f}), ArgumentError);
  ModelInfo info;
  info.preprocessing.crop = 64;  // which no model file holds: said before training, not after
  CHECK_THROWS_AS(fit(net, adam, train_set(), {.model = "fit_test.model", .info = info}), ArgumentError);
  CHECK_THROWS_AS(fit(net, adam, train_set(), {.mixup_alpha = -1.0f}), ArgumentError);
  CHECK_THROWS_AS(fit(net, Sgd{{.learning_rate = -1.0f}}, train_set(), {}), ArgumentError);
  CHECK(contains(refused(argument, train_set(), {.epochs = 50'001, .checkpoint = "fit_test.checkpoint"}), "50000"));
  Sequential<float> not_built{Flatten{}, Dense{3}};
  Optimizer grouped = adam;
  grouped.groups = {{.match = "1"}};
  CHECK(contains(message_of<ArgumentError>([&] { fit(not_built, grouped, train_set(), {}); }), "build the network"));
  // A single sample is left over, and a normalization has nothing to normalize it by.
  Sequential<float> normalized{Flatten{}, Dense{4}, BatchNorm2d{}, Dense{3}};
  normalized.build({6, 6, 1}, 1);
  CHECK(contains(message_of<ShapeError>([&] { fit(normalized, adam, train_set(), {.batch = 49}); }), "drop_last"));
}

TEST_CASE("fit: where validation fails, the network keeps the weights it was trained to, not their averages") {
  struct Broken : TensorDataset {
    Broken() : TensorDataset(train_set()) {}
    void get(index_t, const SampleKey&, std::span<float>) const override { fail<FileError>("gone"); }
  };
  const FitOptions options{.epochs = 1, .batch = 16, .seed = 1, .average_decay = 0.9f};
  auto trained = network(), averaged = network();
  Interrupter stop(3);  // behind the last batch, in front of the averages
  FitOptions stopped = options;
  stopped.observer = &stop;
  CHECK_THROWS_AS(fit(trained, adam, train_set(), stopped), Interrupted);
  const Broken broken;
  FitOptions validated = options;
  validated.validation = &broken;
  CHECK(contains(message_of<FileError>([&] { fit(averaged, adam, train_set(), validated); }), "gone"));
  CHECK(same(trained, averaged));
}

TEST_CASE("fit: a plateau without validation is one of the training loss") {
  const FitOptions options{.epochs = 8, .batch = 16, .schedule = Schedule::reduce_on_plateau(0.1, 0)};
  auto falling = network(0);
  const History history = fit(falling, Sgd{{.learning_rate = 0.01f}}, train_set(), options);
  for (std::size_t i = 1; i < history.epochs.size(); ++i) {
    REQUIRE(history.epochs[i].train_loss < history.epochs[i - 1].train_loss);
    CHECK(history.epochs[i].learning_rate == doctest::Approx(0.01));
  }
  auto still = network(0);
  still.freeze("features");
  CHECK(fit(still, Sgd{{.learning_rate = 1e-12f}}, train_set(), options).epochs.back().learning_rate < 1e-17);
}

TEST_CASE("progress: one line per epoch where there is no terminal") {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  Progress progress(file);
  auto net = network();
  fit(net, adam, train_set(), {.epochs = 2, .batch = 16, .validation = &validation_set(), .observer = &progress});
  std::string text(static_cast<std::size_t>(std::ftell(file)), ' ');
  std::rewind(file);
  REQUIRE(std::fread(text.data(), 1, text.size(), file) == text.size());
  std::fclose(file);
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
  CHECK(contains(text, "epoch   1  loss "));
  CHECK(contains(text, "epoch   2  loss "));
  CHECK(contains(text, "validation loss"));
  CHECK(contains(text, "images/s"));
  CHECK_FALSE(contains(text, "\r"));
  CHECK_FALSE(contains(text, "\033"));
}
