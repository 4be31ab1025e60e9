// Which instruction set runs: the fastest that the compiler knew and the processor has, or the one REGARD_ISA names.

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace regard {
namespace {

struct Processor {
    bool avx2 = false, avxvnni = false, avx512bw = false, avx512 = false;
};

#if defined(__x86_64__) || defined(_M_X64)

struct Registers {
    unsigned a, b, c, d;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
    Registers r{};
#if defined(_MSC_VER)
    int values[4];
    __cpuidex(values, int(leaf), int(subleaf));
    r = {unsigned(values[0]), unsigned(values[1]), unsigned(values[2]), unsigned(values[3])};
#else
    if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) r = {};
#endif
    return r;
}

// Which registers the operating system saves; without it their instructions fault.
unsigned long long saved_state() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    unsigned low, high;
    asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<unsigned long long>(high) << 32) | low;
#endif
}

Processor examine() {
    auto bit = [](unsigned word, int number) { return (word >> number & 1) != 0; };
    Processor found;
    const Registers basic = cpuid(1, 0);
    if (!bit(basic.c, 27)) return found;  // no xgetbv
    const unsigned long long saved = saved_state();
    const Registers extended = cpuid(7, 0), more = cpuid(7, 1);
    found.avx2 = (saved & 0x6) == 0x6 && bit(extended.b, 5) && bit(basic.c, 12);
    found.avxvnni = found.avx2 && bit(more.a, 4);
    found.avx512bw = found.avx2 && (saved & 0xe6) == 0xe6 && bit(extended.b, 16) && bit(extended.b, 17) &&
                     bit(extended.b, 30) && bit(extended.b, 31);
    found.avx512 = found.avx512bw && bit(extended.c, 11);
    return found;
}

#else

Processor examine() { return {}; }

#endif

}  // namespace

const Kernels& choose_kernels() {
    static const Processor processor = examine();
    const Kernels* usable[] = {
        processor.avx512 ? avx512_kernels() : nullptr,
        processor.avxvnni ? avxvnni_kernels() : nullptr,
        processor.avx512bw ? avx512bw_kernels() : nullptr,
        processor.avx2 ? avx2_kernels() : nullptr,
        portable_kernels(),
    };
    const char* wanted = std::getenv("REGARD_ISA");
    std::string names;
    for (const Kernels* kernels : usable) {
        if (!kernels) continue;
        if (!wanted || !*wanted || std::string(wanted) == kernels->name) return *kernels;
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    throw std::invalid_argument("REGARD_ISA is '" + std::string(wanted) + "'; this processor runs " + names + ".");
}

}  // namespace regard
