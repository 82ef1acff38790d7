// Threads of the pool that torch has brought along, GCC's OpenMP or LLVM's, which answers to GCC's names too. They are
// called by name: what compilers make of `#pragma omp` asks for their own OpenMP, which torch need not have brought.

#pragma once
#include <cstdint>

extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();

namespace {

// Call body(n) for each of so many shares of the work, each in a thread of its own if there are as many: a limit of the
// user's, or a busy machine, may allow fewer.
template <class Body> void in_threads(int shares, Body body) {
    struct Work {
        int shares;
        Body& body;
    } work{shares, body};
    auto some = [](void* data) {
        Work& work = *(Work*)data;
        for (int n = omp_get_thread_num(); n < work.shares; n += omp_get_num_threads()) work.body(n);
    };
    GOMP_parallel(some, &work, (unsigned)shares, 0);
}

// One of the shares of so many things: from the first up to the end.
struct Share { int64_t first, end; };
inline Share share(int64_t things, int n, int shares) { return {things * n / shares, things * (n + 1) / shares}; }

// Call body(i) for each of so many things, in as many threads.
template <class Body> void for_each(int64_t things, int threads, Body body) {
    in_threads(threads, [=](int n) {
        Share mine = share(things, n, threads);
        for (int64_t i = mine.first; i < mine.end; ++i) body(i);
    });
}

}   // namespace
