/* Hides AVX-512, AVX-VNNI and AMX from a program and its children, to measure how fast they are on a CPU without them.

   Libraries choose their kernels by the instruction CPUID. Linux makes it fault where the CPU can (`cpuid_fault` in
   /proc/cpuinfo); the handler answers in its place, without these features. Kernels chosen by /proc/cpuinfo need a copy of that
   file, too (root only):

       gcc -O2 -shared -fPIC -o without_avx512.so benchmarks/without_avx512.c
       sed -E 's, (avx512|amx|avx_vnni)[a-z0-9_]*,,g' /proc/cpuinfo > cpuinfo
       unshare -m sh -c 'mount --bind cpuinfo /proc/cpuinfo; LD_PRELOAD=$PWD/without_avx512.so make demo'  */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_CPUID_ENABLE 0x1012 /* of arch_prctl(2) */

static int (*libc_sigaction)(int, const struct sigaction *, struct sigaction *);
static struct sigaction of_program = {.sa_handler = SIG_DFL}; /* the program's own handler of SIGSEGV */

static unsigned without(unsigned value, const unsigned char *bits, int count) {
  for (int index = 0; index < count; index++) value &= ~(1u << bits[index]);
  return value;
}

static void cpuid(greg_t *registers) {
  static const unsigned char b[] = {16, 17, 21, 26, 27, 28, 30, 31}, c[] = {1, 6, 11, 12, 14}; /* AVX-512 */
  static const unsigned char d[] = {2, 3, 8, 22, 23, 24, 25}, more[] = {4, 5, 21, 23};          /* AMX, AVX-VNNI */
  unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], rax, rbx, rcx, rdx;
  syscall(SYS_arch_prctl, ARCH_CPUID_ENABLE, 1);
  __asm__ volatile("cpuid" : "=a"(rax), "=b"(rbx), "=c"(rcx), "=d"(rdx) : "a"(leaf), "c"(part));
  syscall(SYS_arch_prctl, ARCH_CPUID_ENABLE, 0);
  if (leaf == 7 && part == 0) {
    rbx = without(rbx, b, sizeof b);
    rcx = without(rcx, c, sizeof c);
    rdx = without(rdx, d, sizeof d);
  }
  if (leaf == 7 && part == 1) {
    rax = without(rax, more, sizeof more);
    rdx = 0;
  }
  if (leaf == 0xd && part == 0) rax &= ~0x600e0u; /* the state of their registers */
  registers[REG_RAX] = rax;
  registers[REG_RBX] = rbx;
  registers[REG_RCX] = rcx;
  registers[REG_RDX] = rdx;
  registers[REG_RIP] += 2;
}

static void handle(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0xa2) {
    cpuid(registers);
  } else if (of_program.sa_flags & SA_SIGINFO) {
    of_program.sa_sigaction(number, info, context);
  } else if (of_program.sa_handler == SIG_DFL) {
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    libc_sigaction(SIGSEGV, &by_default, NULL);
    if (info->si_code <= 0) raise(number); /* sent by a process: it does not occur again */
  } else if (of_program.sa_handler != SIG_IGN) {
    of_program.sa_handler(number);
  }
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
  if (!libc_sigaction) libc_sigaction = dlsym(RTLD_NEXT, "sigaction");
  if (number != SIGSEGV) return libc_sigaction(number, new, old);
  if (old) *old = of_program;
  if (new) of_program = *new;
  return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
  struct sigaction new = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
  return sigaction(number, &new, &old) ? SIG_ERR : old.sa_handler;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction new = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  if (!libc_sigaction) libc_sigaction = dlsym(RTLD_NEXT, "sigaction");
  libc_sigaction(SIGSEGV, &new, NULL);
  if (syscall(SYS_arch_prctl, ARCH_CPUID_ENABLE, 0)) perror("CPUID cannot be made to fault");
}
