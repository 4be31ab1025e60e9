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
// The team is tried again after so many times what waiting has cost.
constexpr int REST = 4;

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
        static_cast<void>(meeting_.release());
        return;
    }
    stop();
}

void Team::start() {
    if (owner_ == REGARD_PROCESS) return;
    if (!threads_.empty()) {  // a fork
        for (auto& thread : threads_) thread.detach();
        threads_.clear();
        static_cast<void>(meeting_.release());
        meeting_ = std::make_unique<Meeting>();
    }
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
        std::lock_guard<std::mutex> lock(meeting_->mutex);
        stop_ = true;
    }
    meeting_->wake.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

void Team::run(const std::function<void(int)>& task) {
    if (size_ == 1) return task(0);
    start();
    {
        std::lock_guard<std::mutex> lock(meeting_->mutex);
        task_ = &task;
        ++calls_;
    }
    meeting_->wake.notify_all();
    task(0);
    gather(0);  // the others are done with the task, too
}

void Team::serve(int id, unsigned seen) {
    for (;;) {
        const std::function<void(int)>* task;
        {
            std::unique_lock<std::mutex> lock(meeting_->mutex);
            meeting_->wake.wait(lock, [&] { return stop_ || calls_ != seen; });
            if (stop_) return;
            seen = calls_;
            task = task_;
        }
        (*task)(id);
        gather(id);
    }
}

bool Team::rest() {
    const auto now = Clock::now();
    if (alone_) {
        alone_ = now < until_;
    } else if (2 * slept_ > now - began_) {
        alone_ = true;
        until_ = now + REST * slept_;
    }
    began_ = now;
    slept_ = Clock::duration::zero();
    return alone_;
}

void Team::gather(int id) {
    const unsigned round = meeting_->round.load();
    if (meeting_->arrived.fetch_add(1) == size_ - 1) {
        meeting_->arrived.store(0);
        meeting_->round.store(round + 1);
        if (meeting_->sleepers.load() > 0) {
            { std::lock_guard<std::mutex> lock(meeting_->sleep); }  // a thread that is about to sleep has looked at round
            meeting_->awake.notify_all();
        }
        return;
    }
    for (int spins = 0; spins < SPINS; ++spins) {
        if (meeting_->round.load(std::memory_order_acquire) != round) return;
        pause();
    }
    const auto asleep = Clock::now();
    {
        std::unique_lock<std::mutex> lock(meeting_->sleep);
        ++meeting_->sleepers;
        meeting_->awake.wait(lock, [&] { return meeting_->round.load() != round; });
        --meeting_->sleepers;
    }
    if (id == 0) slept_ += Clock::now() - asleep;
}

}  // namespace regard
