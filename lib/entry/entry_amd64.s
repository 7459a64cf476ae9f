#include "textflag.h"

// start is the ELF entry point of a binary linked with -E staves/lib/entry.start.
// The kernel leaves argc, argv, the environment and the auxiliary vector at SP.
//
// premain is compiled Go: its ABI wrapper loads g from thread-local storage, and
// the runtime that would set that up has not run. So FS points at a block of
// zeros for as long as premain runs; the runtime sets its own later. In a binary
// with cgo the C library has been started already, by ld.so(8): the runtime then
// wants FS as it was, and exit the function in DX.
TEXT ·start(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, ·stack0(SB)
	MOVQ	DX, ·exit0(SB)
	MOVQ	$158, AX		// arch_prctl
	MOVQ	$0x1003, DI		// ARCH_GET_FS
	LEAQ	·fs0(SB), SI
	SYSCALL
	MOVQ	$158, AX		// arch_prctl
	MOVQ	$0x1002, DI		// ARCH_SET_FS
	LEAQ	·tls0+64(SB), SI
	SYSCALL
	SUBQ	$64, SP
	ANDQ	$~15, SP
	CALL	·premain(SB)
	MOVQ	·fs0(SB), SI
	TESTQ	SI, SI
	JEQ	own
	MOVQ	$158, AX		// arch_prctl
	MOVQ	$0x1002, DI		// ARCH_SET_FS
	SYSCALL
own:
	MOVQ	·stack0(SB), SP
	MOVQ	·exit0(SB), DX
	JMP	_rt0_amd64_linux(SB)

// func sys(nr, a, b, c, d, e, f uintptr) uintptr
TEXT ·sys(SB),NOSPLIT,$0-64
	MOVQ	nr+0(FP), AX
	MOVQ	a+8(FP), DI
	MOVQ	b+16(FP), SI
	MOVQ	c+24(FP), DX
	MOVQ	d+32(FP), R10
	MOVQ	e+40(FP), R8
	MOVQ	f+48(FP), R9
	SYSCALL
	MOVQ	AX, ret+56(FP)
	RET

// func startPC() uintptr
TEXT ·startPC(SB),NOSPLIT,$0-8
	LEAQ	·start(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// The addresses below are taken, not called, so that the linker, which adds up the
// frames of functions that cannot grow the stack, begins anew: so does the stack.
#define STAY(f) \
	MOVQ	·stack0(SB), SP; \
	SUBQ	$64, SP; \
	ANDQ	$~15, SP; \
	MOVQ	$0, -8(SP); \
	SUBQ	$8, SP; \
	MOVQ	$f(SB), AX; \
	JMP	AX

// func stayAsWaiter()
TEXT ·stayAsWaiter(SB),NOSPLIT|NOFRAME,$0
	STAY(·waiter)

// func stayAsInit()
TEXT ·stayAsInit(SB),NOSPLIT|NOFRAME,$0
	STAY(·initLoop)

// func stayAsWatch()
TEXT ·stayAsWatch(SB),NOSPLIT|NOFRAME,$0
	STAY(·watch)
