/* User Mode Linux on processors with AMX.

   Linux takes the extended state of a traced process only as a whole (PTRACE_SETREGSET with NT_X86_XSTATE fails with
   EFAULT when the buffer is shorter), and the buffer of User Mode Linux ends before AMX' part. This library, loaded by
   LD_PRELOAD, hands the kernel a buffer of full size, in which the parts that User Mode Linux does not know are in their
   initial state. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { XSTATE_BV = 512, LARGEST = 65536 };
static const uint64_t UP_TO_PKRU = 0x2ff; /* x87, SSE, AVX, MPX, AVX-512, PKRU */

static size_t state_size(void) {
    unsigned eax, ebx, ecx, edx;
    __cpuid_count(13, 0, eax, ebx, ecx, edx);
    return ebx;
}

static long set_whole_state(pid_t pid, void *kind, const struct iovec *known) {
    static unsigned char state[LARGEST] __attribute__((aligned(64)));
    size_t size = state_size();
    uint64_t present;
    if (known->iov_len >= size || size > LARGEST)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, kind, known);
    memset(state, 0, size);
    memcpy(state, known->iov_base, known->iov_len);
    memcpy(&present, state + XSTATE_BV, sizeof present);
    present &= UP_TO_PKRU;
    memcpy(state + XSTATE_BV, &present, sizeof present);
    struct iovec whole = {state, size};
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, kind, &whole);
}

long ptrace(enum __ptrace_request request, ...) {
    static long (*next)(enum __ptrace_request, pid_t, void *, void *);
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_whole_state(pid, address, data);
    if (next == NULL)
        next = dlsym(RTLD_NEXT, "ptrace");
    return next(request, pid, address, data);
}
