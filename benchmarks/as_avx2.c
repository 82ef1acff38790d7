// Makes a process, and those it starts, see a processor with AVX2 and nothing newer, where the system can trap the
// instruction CPUID (Linux on x86-64, Intel from Ivy Bridge on). Unlike a library's own switch it binds every library.
//
//   cc -O2 -shared -fPIC -o as_avx2.so as_avx2.c; LD_PRELOAD=./as_avx2.so python ...

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static void trap(int on) {
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on)) {
        static const char why[] = "as_avx2: this system does not trap CPUID\n";
        (void)!write(2, why, sizeof why - 1);
        _exit(1);
    }
}

// Take from leaf 7 all of AVX-512 and AMX, and the newer forms of AVX (VNNI, IFMA, NE-CONVERT, VNNI-INT8 and so on).
static void without_newer(unsigned leaf, unsigned part, unsigned* a, unsigned* b, unsigned* c, unsigned* d) {
    if (leaf != 7) return;
    if (part == 0) {
        *b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
        *c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
        *d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else {
        *a = *b = *c = *d = 0;
    }
}

static void on_fault(int number, siginfo_t* info, void* context) {
    greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
    const unsigned char* at = (const unsigned char*)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) {
        signal(number, SIG_DFL);
        return;
    }
    unsigned a, b, c, d, leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
    trap(0);
    __cpuid_count(leaf, part, a, b, c, d);
    trap(1);
    without_newer(leaf, part, &a, &b, &c, &d);
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction how;
    memset(&how, 0, sizeof how);
    how.sa_sigaction = on_fault, how.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &how, 0);
    trap(1);
}
