#include "textflag.h"

// start is the ELF entry point of a binary linked with -E staves/lib/entry.start.
// The kernel leaves argc, argv, the environment and the auxiliary vector at SP.
// Go code on arm64 keeps g in a register, so premain needs no thread-local storage.
TEXT ·start(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R0
	MOVD	R0, ·stack0(SB)
	MOVD	ZR, g
	SUB	$64, RSP
	BL	·premain(SB)
	MOVD	·stack0(SB), R0
	MOVD	R0, RSP
	JMP	_rt0_arm64_linux(SB)

// func sys(nr, a, b, c, d, e, f uintptr) uintptr
TEXT ·sys(SB),NOSPLIT,$0-64
	MOVD	nr+0(FP), R8
	MOVD	a+8(FP), R0
	MOVD	b+16(FP), R1
	MOVD	c+24(FP), R2
	MOVD	d+32(FP), R3
	MOVD	e+40(FP), R4
	MOVD	f+48(FP), R5
	SVC
	MOVD	R0, ret+56(FP)
	RET

// func startPC() uintptr
TEXT ·startPC(SB),NOSPLIT,$0-8
	MOVD	$·start(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// The addresses below are taken, not called, so that the linker, which adds up the
// frames of functions that cannot grow the stack, begins anew: so does the stack.
#define STAY(f) \
	MOVD	·stack0(SB), R0; \
	SUB	$64, R0; \
	AND	$~15, R0; \
	MOVD	R0, RSP; \
	MOVD	$f(SB), R1; \
	B	(R1)

// func stayAsWaiter()
TEXT ·stayAsWaiter(SB),NOSPLIT|NOFRAME,$0
	STAY(·waiter)

// func stayAsInit()
TEXT ·stayAsInit(SB),NOSPLIT|NOFRAME,$0
	STAY(·initLoop)

// func stayAsWatch()
TEXT ·stayAsWatch(SB),NOSPLIT|NOFRAME,$0
	STAY(·watch)
