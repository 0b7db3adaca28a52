// Schedules: PyTorch's rates, state that can be saved, texts of command lines.
#include "mien/optim/schedule.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "optimizer_golden.hpp"

using namespace mien;

namespace {

std::vector<double> rates(const Schedule& schedule, int steps) {
  std::vector<double> all;
  for (int step = 0; step < steps; ++step) all.push_back(schedule.factor(step, steps));
  return all;
}

double error(const Schedule& schedule, int steps, const char* name) {
  return test::largest_error<double>(rates(schedule, steps), test::golden(name), 1e-6);
}

// The metric of make_optimizer_golden.py.
double metric(int step) { return std::max(4 - step / 2.0, 1.0) + step * 7 % 5 / 64.0; }

}  // namespace

TEST_CASE("schedules: PyTorch's rates") {
  CHECK(error(Schedule::step(7, 0.5), 40, "schedule.step") < 1e-12);
  CHECK(error(Schedule::cosine(0, 0.01), 40, "schedule.cosine") < 1e-12);
  CHECK(error(Schedule::cosine(5), 40, "schedule.cosine_warm_up") < 1e-12);
  CHECK(error(Schedule::one_cycle(), 40, "schedule.one_cycle") < 1e-12);
  CHECK(error(Schedule::one_cycle(0.25, 10, 100), 33, "schedule.one_cycle_settings") < 1e-12);
  CHECK(error(Schedule::one_cycle(), 3, "schedule.one_cycle_short") < 1e-12);
  for (double rate : rates(Schedule::constant(), 5)) CHECK(rate == 1);
  for (double rate : rates(Schedule(), 5)) CHECK(rate == 1);
}

TEST_CASE("schedules: plateau, PyTorch's rates, with state saved and restored at every step") {
  for (const bool small_is_good : {true, false}) {
    const auto make = [&] {
      return small_is_good ? Schedule::reduce_on_plateau(0.5, 3)
                           : Schedule::reduce_on_plateau(0.25, 4, Schedule::Mode::max, 0.02);
    };
    Schedule schedule = make();
    std::vector<double> all;
    for (int step = 0; step < 40; ++step) {
      all.push_back(schedule.factor(step, 40));
      const double before = schedule.factor(0, 40);
      const bool reduced = schedule.observe(small_is_good ? metric(step) : 5 - metric(step));
      CHECK(reduced == (schedule.factor(0, 40) < before));

      std::vector<std::pair<std::string, double>> saved;
      schedule.for_each_state([&](const char* name, double& value) { saved.emplace_back(name, value); });
      schedule = make();
      std::size_t next = 0;
      schedule.for_each_state([&](const char* name, double& value) {
        CHECK(saved[next].first == name);
        CHECK(std::isfinite(saved[next].second));
        value = saved[next++].second;
      });
    }
    const char* name = small_is_good ? "schedule.plateau_min" : "schedule.plateau_max";
    CHECK(test::largest_error<double>(all, test::golden(name), 1e-9) < 1e-12);
  }
}

TEST_CASE("schedules: a metric that is not finite is no improvement") {
  Schedule schedule = Schedule::reduce_on_plateau(0.5, 1, Schedule::Mode::max);
  CHECK(!schedule.observe(std::numeric_limits<double>::quiet_NaN()));
  CHECK(schedule.observe(std::numeric_limits<double>::infinity()));
  CHECK(schedule.factor(0, 1) == 0.5);
  CHECK(!schedule.observe(0.1));
  CHECK(!schedule.observe(0.2));
  CHECK(!schedule.observe(0.2));
  CHECK(schedule.observe(0.2));
  CHECK(schedule.factor(0, 1) == 0.25);
  Schedule other = Schedule::cosine();
  CHECK(!other.observe(1));
  CHECK(!other.observe(1));
}

TEST_CASE("schedules: ends and short runs stay in range") {
  const Schedule all[] = {Schedule::constant(),      Schedule::step(1e9, 0.5),       Schedule::cosine(3, 0.1),
                          Schedule::cosine(50, 0.1), Schedule::one_cycle(),          Schedule::one_cycle(0),
                          Schedule::one_cycle(1),    Schedule::one_cycle(0.5, 1, 1), Schedule::cosine(0.5)};
  for (const Schedule& schedule : all) {
    CAPTURE(schedule.to_string());
    for (double total : {0., 1., 2., 3., 10., 11.}) {
      for (int i = 0; i < static_cast<int>(total) + 3; ++i) {
        const double step = i;
        const double factor = schedule.factor(step, total);
        CHECK(factor >= 0);
        CHECK(factor <= 1);
      }
    }
  }
  // Past the end, the last rate stays.
  CHECK(Schedule::cosine(2, 0.25).factor(100, 10) == doctest::Approx(0.25));
  CHECK(Schedule::one_cycle().factor(100, 10) == Schedule::one_cycle().factor(9, 10));
  CHECK(Schedule::one_cycle(0.3, 20, 5).factor(9, 10) == doctest::Approx(0.01));
  // Warm-up starts above zero and reaches 1.
  CHECK(Schedule::cosine(4).factor(0, 10) == 0.25);
  CHECK(Schedule::cosine(4).factor(3, 10) == 1);
}

TEST_CASE("schedules: lengths in epochs become lengths in batches") {
  const Schedule steps = Schedule::step(2, 0.5).scaled(449);
  CHECK(steps.factor(897, 10000) == 1);
  CHECK(steps.factor(898, 10000) == 0.5);
  const Schedule cosine = Schedule::cosine(3).scaled(100);
  CHECK(cosine.factor(149, 1000) == 0.5);
  CHECK(cosine.factor(300, 1000) == 1);
  CHECK(Schedule::one_cycle().scaled(100).factor(299, 1000) == 1);
  Schedule plateau = Schedule::reduce_on_plateau(0.5, 1).scaled(100);
  plateau.observe(1);
  plateau.observe(1);
  CHECK(plateau.observe(1));
  CHECK_THROWS_AS(Schedule::step(2).scaled(0), ArgumentError);
}

TEST_CASE("schedules: texts") {
  CHECK(Schedule::parse("constant").to_string() == "constant");
  CHECK(Schedule::parse("step:30,0.1").to_string() == "step:every=30,factor=0.1");
  CHECK(Schedule::parse("step:30").to_string() == "step:every=30,factor=0.1");
  CHECK(Schedule::parse("step:30,factor=0.5").to_string() == "step:every=30,factor=0.5");
  CHECK(Schedule::parse("cosine").to_string() == "cosine:warmup=0,final=0");
  CHECK(Schedule::parse("cosine:warmup=3").to_string() == "cosine:warmup=3,final=0");
  CHECK(Schedule::parse("cosine:final=0.01,warmup=1.5").to_string() == "cosine:warmup=1.5,final=0.01");
  CHECK(Schedule::parse("one_cycle").to_string() == "one_cycle:max_at=0.3,div=25,final_div=10000");
  CHECK(Schedule::parse("one_cycle:0.25,10").to_string() == "one_cycle:max_at=0.25,div=10,final_div=10000");
  CHECK(Schedule::parse("plateau").to_string() == "plateau:factor=0.1,patience=10,mode=min,threshold=1e-04");
  CHECK(Schedule::parse("plateau:0.75,5,max").to_string() == "plateau:factor=0.75,patience=5,mode=max,threshold=1e-04");
  for (const char* text : {"constant", "step:7,0.3", "cosine:3,1e-3", "one_cycle:0.1,7,9", "plateau:mode=max"}) {
    const std::string written = Schedule::parse(text).to_string();
    CHECK(Schedule::parse(written).to_string() == written);
  }
}

TEST_CASE("schedules: texts that are wrong") {
  for (const char* text : {"",
                           ":",
                           "linear",
                           "constant:1",
                           "constant:",
                           "step",
                           "step:",
                           "step:0",
                           "step:-3",
                           "step:x",
                           "step:3x",
                           "step:3,",
                           "step:,3",
                           "step:3,0",
                           "step:3,2",
                           "step:3,.5,7",
                           "step:3,every=4",
                           "step:factor=0.5,3",
                           "step:3,factor=0.5,factor=0.5",
                           "step:=3",
                           "step:every=",
                           "step:nan",
                           "step:inf",
                           "step: 3",
                           "cosine:warmup=-1",
                           "cosine:final=2",
                           "cosine:warm=3",
                           "one_cycle:max_at=2",
                           "one_cycle:div=0",
                           "one_cycle:final_div=0",
                           "plateau:factor=1",
                           "plateau:patience=-1",
                           "plateau:patience=1.5",
                           "plateau:patience=1e99",
                           "plateau:mode=mid",
                           "plateau:threshold=1",
                           "Cosine"}) {
    CAPTURE(std::string(text));
    CHECK_THROWS_AS(Schedule::parse(text), ArgumentError);
  }
  CHECK_THROWS_WITH_AS(Schedule::parse("cosine:warm=3"), doctest::Contains("warmup"), ArgumentError);
  CHECK_THROWS_WITH_AS(Schedule::parse("linear"), doctest::Contains("expected constant"), ArgumentError);
}
