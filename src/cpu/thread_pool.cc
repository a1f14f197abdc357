#include "cpu/thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "cpu/worker_count.h"

namespace pagoda::cpu {
namespace {

// Longer than the gaps between the calls of a model's layers, shorter than anyone minds.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPausesPerClockRead = 32;

struct Job {
  ParallelTask task;
  void* context;
  int64_t num_tasks;
};

void run_serially(const Job& job) {
  for (int64_t i = 0; i < job.num_tasks; ++i) job.task(job.context, i, 0);
}

void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Until done() or kSpinTime is over; says whether done().
template <class Done>
bool spin_until(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

// One job at a time. A job is open while its caller, who is worker 0, still finds tasks; threads
// that come in time enter it, others are not waited for. So a job never costs the time that a
// sleeping or descheduled thread takes to arrive.
class ThreadPool {
 public:
  explicit ThreadPool(int32_t num_workers) : num_workers_(num_workers) {}

  // False if another job is running: the caller does its work alone then.
  bool try_run(const Job& job);

  int32_t num_workers() const { return num_workers_; }

 private:
  // gate_: how many threads are in the job, whether more may enter, whether the caller has to be
  // woken when the last one leaves, and the job's number.
  static constexpr uint64_t kOneInside = 1;
  static constexpr uint64_t kInsideMask = (uint64_t{1} << 30) - 1;
  static constexpr uint64_t kOpen = uint64_t{1} << 30;
  static constexpr uint64_t kCallerSleeps = uint64_t{1} << 31;
  static constexpr int kNumberShift = 32;

  static uint32_t number_of(uint64_t gate) { return static_cast<uint32_t>(gate >> kNumberShift); }

  void start_threads();
  void work(int32_t worker);
  bool enter(uint64_t gate);
  void run_tasks(int32_t worker);
  void leave();
  void wait_for_other_job(uint32_t number);
  void wake_threads();
  void close_and_wait();

  const int32_t num_workers_;
  bool started_ = false;  // guarded by busy_
  Job job_{};             // written while nobody is inside

  alignas(64) std::atomic<bool> busy_{false};
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<int32_t> num_sleepers_{0};
  std::mutex mutex_;  // held only to go to sleep and to wake
  std::condition_variable job_came_;
  std::condition_variable all_left_;
};

bool ThreadPool::try_run(const Job& job) {
  if (busy_.load(std::memory_order_relaxed) || busy_.exchange(true, std::memory_order_acquire)) {
    return false;
  }
  if (!started_) start_threads();
  job_ = job;
  next_task_.store(0, std::memory_order_relaxed);
  const uint64_t number = number_of(gate_.load(std::memory_order_relaxed)) + uint64_t{1};
  gate_.store(number << kNumberShift | kOpen);
  // Sequentially consistent with wait_for_other_job(): either this sees the sleeper, or the
  // sleeper sees the job.
  if (num_sleepers_.load() > 0) wake_threads();
  run_tasks(0);
  close_and_wait();
  busy_.store(false, std::memory_order_release);
  return true;
}

// Detached: they live as long as the process, whose exit waits for nobody. A system that grants
// fewer threads gets fewer.
void ThreadPool::start_threads() {
  started_ = true;
  try {
    for (int32_t worker = 1; worker < num_workers_; ++worker) {
      std::thread([this, worker] { work(worker); }).detach();
    }
  } catch (const std::system_error&) {
  }
}

void ThreadPool::work(int32_t worker) {
  uint32_t number = 0;
  for (;;) {
    const auto other_job = [&] { return number_of(gate_.load()) != number; };
    if (!spin_until(other_job)) wait_for_other_job(number);
    const uint64_t gate = gate_.load();
    number = number_of(gate);
    if (!enter(gate)) continue;
    run_tasks(worker);
    leave();
  }
}

bool ThreadPool::enter(uint64_t gate) {
  const uint32_t number = number_of(gate);
  while ((gate & kOpen) != 0 && number_of(gate) == number) {
    if (gate_.compare_exchange_weak(gate, gate + kOneInside)) return true;
  }
  return false;
}

void ThreadPool::run_tasks(int32_t worker) {
  const Job job = job_;
  for (;;) {
    const int64_t index = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (index >= job.num_tasks) return;
    job.task(job.context, index, worker);
  }
}

void ThreadPool::leave() {
  const uint64_t before = gate_.fetch_sub(kOneInside);
  if ((before & kCallerSleeps) == 0 || (before & kInsideMask) != kOneInside) return;
  { const std::lock_guard lock(mutex_); }
  all_left_.notify_one();
}

void ThreadPool::wait_for_other_job(uint32_t number) {
  std::unique_lock lock(mutex_);
  num_sleepers_.fetch_add(1);
  job_came_.wait(lock, [&] { return number_of(gate_.load()) != number; });
  num_sleepers_.fetch_sub(1);
}

void ThreadPool::wake_threads() {
  // Whoever counted itself as a sleeper has, once the mutex is free, gone to sleep or left.
  { const std::lock_guard lock(mutex_); }
  const int64_t helpers = job_.num_tasks - 1;
  if (helpers >= num_sleepers_.load()) {
    job_came_.notify_all();
  } else {
    for (int64_t i = 0; i < helpers; ++i) job_came_.notify_one();
  }
}

void ThreadPool::close_and_wait() {
  gate_.fetch_and(~kOpen);
  const auto is_empty = [&] { return (gate_.load() & kInsideMask) == 0; };
  if (spin_until(is_empty)) return;
  std::unique_lock lock(mutex_);
  gate_.fetch_or(kCallerSleeps);
  all_left_.wait(lock, is_empty);
}

// Lives for ever: at exit its threads may still be looking for jobs.
ThreadPool& default_pool() {
  static ThreadPool& pool = [&]() -> ThreadPool& {
    auto* made = new ThreadPool(default_num_workers());
    // A forked child has none of the threads, and locks and counts of a moment in the parent: it
    // begins with a new pool in the old one's place.
    pthread_atfork(nullptr, nullptr, [] {
      ThreadPool& inherited = default_pool();
      new (&inherited) ThreadPool(inherited.num_workers());
    });
    return *made;
  }();
  return pool;
}

void run_on_default_pool(void*, int64_t num_tasks, ParallelTask task, void* context) {
  const Job job{task, context, num_tasks};
  ThreadPool& pool = default_pool();
  if (num_tasks == 1 || pool.num_workers() == 1 || !pool.try_run(job)) run_serially(job);
}

}  // namespace

const ParallelFor& default_parallel_for() {
  static const ParallelFor kInstance{run_on_default_pool, nullptr, default_pool().num_workers()};
  return kInstance;
}

const std::string& default_pool_error() {
  static const std::string error = worker_count_error();
  return error;
}

}  // namespace pagoda::cpu
