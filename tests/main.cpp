// The main of every *_test.cpp. Beside doctest's report it closes with "N passed, N failed[, N skipped]", which
// tests/run.sh adds up. A case that checked nothing and said "skipped: why" in a MESSAGE counts as skipped.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>

#include "asked_isa.hpp"

namespace {

struct Counts : doctest::IReporter {
  explicit Counts(const doctest::ContextOptions& options) : list_only(options.list_test_cases || options.count) {}

  void test_case_start(const doctest::TestCaseData&) override { says_skipped = false; }
  void log_message(const doctest::MessageData& message) override {
    if (std::strncmp(message.m_string.c_str(), "skipped", 7) == 0) says_skipped = true;
  }
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    if (stats.failure_flags != doctest::TestCaseFailureReason::None) {
      ++failed;
    } else if (says_skipped && stats.numAssertsCurrentTest == 0) {
      ++skipped;
    } else {
      ++passed;
    }
  }
  void test_run_end(const doctest::TestRunStats&) override {
    if (list_only) return;
    std::printf("%d passed, %d failed", passed, failed);
    if (skipped > 0) std::printf(", %d skipped", skipped);
    std::printf("\n");
    std::fflush(stdout);
  }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

  bool list_only, says_skipped = false;
  int passed = 0, failed = 0, skipped = 0;
};

}  // namespace

REGISTER_LISTENER("counts", 1, Counts);

int main(int argc, char** argv) {
  // A child of cpu_test has been given any name on purpose.
  if (std::getenv("MIEN_TEST_CHILD") == nullptr && mien::test::asked_isa_is_missing()) return mien::test::skipped;
  return doctest::Context(argc, argv).run();
}
