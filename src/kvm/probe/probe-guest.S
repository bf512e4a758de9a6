# The guest of the accelerator probe: firmware in place of SeaBIOS that does what Linux does first on an x86-64 machine, then
# tells the isa-debug-exit device (port 0x501) how it went: 0x10 when all is well, 0x11 when an instruction gave a wrong result.
#
# It enters 64-bit mode under its own page tables, then executes what half-working accelerators are known to fail at:
# cmpxchg16b, xsave and xrstor, a software breakpoint through the interrupt table, and a loop long enough to show whether the
# guest's instructions run on the CPU or are interpreted one by one.
#
# Bytes for probe-guest.ts are made by scripts/assemble-probe-guest.mjs.

        .set    PML4,    0x1000
        .set    PDPT,    0x2000
        .set    PD,      0x3000
        .set    IDT,     0x4000
        .set    OPERAND, 0x5000
        .set    XAREA,   0x6000
        .set    STACK,   0x8000
        .set    LOOPS,   50000000
        .set    BASE,    0xf0000                # where the last 64 KiB below 1 MiB begin

        .code16
        .globl  start
start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   %cs:gdt_pointer
        movl    $(PDPT + 3), PML4               # one 2 MiB page, identity mapped, present and writable
        movl    $(PD + 3), PDPT
        movl    $0x83, PD
        movl    $0x620, %eax                    # CR4: PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx               # EFER.LME
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    $0x80000011, %eax               # CR0: PG, ET, PE
        movl    %eax, %cr0
        ljmpl   $8, $(BASE + long_mode)

        .code64
long_mode:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $STACK, %esp

        leaq    on_breakpoint(%rip), %rax       # IDT gate 3
        movl    $(IDT + 48), %edi
        movw    %ax, (%rdi)
        movw    $8, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shrq    $16, %rax
        movl    %eax, 6(%rdi)
        lidt    idt_pointer(%rip)

        movl    $1, %eax
        cpuid
        movl    %ecx, %ebp                      # features: bit 13 cmpxchg16b, bit 26 xsave

        btl     $13, %ebp
        jnc     no_cmpxchg16b
        movl    $OPERAND, %edi
        movl    $0x11, (%rdi)
        movl    $0x22, 8(%rdi)
        movl    $0x11, %eax
        movl    $0x22, %edx
        movl    $0x33, %ebx
        movl    $0x44, %ecx
        lock cmpxchg16b (%rdi)
        jnz     wrong
        cmpl    $0x33, (%rdi)
        jne     wrong
        cmpl    $0x44, 8(%rdi)
        jne     wrong
no_cmpxchg16b:

        btl     $26, %ebp
        jnc     no_xsave
        movq    %cr4, %rax
        orl     $0x40000, %eax                  # OSXSAVE
        movq    %rax, %cr4
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $3, %eax                        # x87 and SSE
        xsetbv
        movl    $0x5a, %ebx
        movq    %rbx, %xmm1
        movl    $XAREA, %edi
        xsave   (%rdi)
        pxor    %xmm1, %xmm1
        movl    $3, %eax
        xorl    %edx, %edx
        xrstor  (%rdi)
        movq    %xmm1, %rax
        cmpq    %rbx, %rax
        jne     wrong
no_xsave:

        xorl    %esi, %esi
        int3
        cmpl    $1, %esi
        jne     wrong

        movl    $LOOPS, %ecx
busy:   decl    %ecx
        jnz     busy

        movb    $0x10, %al
        jmp     report
wrong:  movb    $0x11, %al
report: movw    $0x501, %dx
        outb    %al, %dx
stop:   hlt
        jmp     stop

on_breakpoint:
        incl    %esi
        iretq

        .balign 8
gdt:    .quad   0
        .quad   0x00209a0000000000              # 64-bit code
        .quad   0x0000920000000000              # data
gdt_pointer:
        .word   . - gdt - 1
        .long   BASE + gdt
idt_pointer:
        .word   4 * 16 - 1
        .quad   IDT

        .org    0x1f0                           # of the last 512 bytes: what the CPU fetches first after reset
        .code16
        ljmp    $0xf000, $start
        .org    0x200
