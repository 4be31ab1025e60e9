#include "team.h"

#include <algorithm>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if defined(_WIN32)
#include <process.h>
#define REGARD_PROCESS _getpid()
#else
#include <unistd.h>
#define REGARD_PROCESS getpid()
#endif

namespace regard {
namespace {

// Some tens of microseconds: longer than threads with equal work wait for each other. Who has to wait longer waits for
// a thread that the system has put aside, and sleeps, so that this one may have the processor.
constexpr int SPINS = 2000;
// Sleeps of the first thread in one piece of work that are still bad luck.
constexpr int MOST_WAITS = 2;
constexpr int FIRST_REST = 16, LONGEST_REST = 1024;

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
    asm volatile("yield");
#endif
}

}  // namespace

Team::Team(int size) : size_(size) {}

Team::~Team() {
    if (threads_.empty()) return;
    if (owner_ != REGARD_PROCESS) {  // the threads stayed in the parent: there is nothing to join
        for (auto& thread : threads_) thread.detach();
        return;
    }
    stop();
}

void Team::start() {
    if (owner_ == REGARD_PROCESS) return;
    for (auto& thread : threads_) thread.detach();
    threads_.clear();
    try {
        for (int id = 1; id < size_; ++id) threads_.emplace_back([this, id, seen = calls_] { serve(id, seen); });
    } catch (...) {  // the system gives no more: those that there are go, and the next call tries again
        stop();
        stop_ = false;
        throw;
    }
    owner_ = REGARD_PROCESS;
}

void Team::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

void Team::run(const std::function<void(int)>& task) {
    if (size_ == 1) return task(0);
    start();
    {
        std::lock_guard<std::mutex> lock(mutex_);
        task_ = &task;
        ++calls_;
    }
    wake_.notify_all();
    task(0);
    gather(0);  // the others are done with the task, too
}

void Team::serve(int id, unsigned seen) {
    for (;;) {
        const std::function<void(int)>* task;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return stop_ || calls_ != seen; });
            if (stop_) return;
            seen = calls_;
            task = task_;
        }
        (*task)(id);
        gather(id);
    }
}

bool Team::rest() {
    if (alone_ > 0) {
        --alone_;
    } else if (waits_ > MOST_WAITS) {
        alone_ = next_rest_ = std::min(std::max(FIRST_REST, 2 * next_rest_), LONGEST_REST);
    } else {
        next_rest_ /= 2;
    }
    waits_ = 0;
    return alone_ > 0;
}

void Team::gather(int id) {
    const unsigned round = round_.load();
    if (arrived_.fetch_add(1) == size_ - 1) {
        arrived_.store(0);
        round_.store(round + 1);
        if (sleepers_.load() > 0) {
            { std::lock_guard<std::mutex> lock(sleep_); }  // a thread that is about to sleep has looked at round_
            awake_.notify_all();
        }
        return;
    }
    for (int spins = 0; spins < SPINS; ++spins) {
        if (round_.load(std::memory_order_acquire) != round) return;
        pause();
    }
    if (id == 0) ++waits_;
    std::unique_lock<std::mutex> lock(sleep_);
    ++sleepers_;
    awake_.wait(lock, [&] { return round_.load() != round; });
    --sleepers_;
}

}  // namespace regard
