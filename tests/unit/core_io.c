/* SPDX-License-Identifier: MIT */
/* Port I/O: devices, the VMM, strings in pieces, and what guests do to trip them. */
#include "tests/unit/core_machine.h"

static u64 written[600];
static u32 writes, reads;
static int device_says;

static int port_read(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 *value)
{
	*value = 0x1111111111111100 + reads++;
	return device_says;
}

static int port_write(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	if (!device_says)
		written[writes++] = value;
	return device_says;
}

static struct bus_device device = {0x40, 4, port_read, port_write};

static int setup(void **state)
{
	machine_init();
	writes = reads = 0;
	device_says = 0;
	assert_int_equal(bus_add(&machine_vm->ports, &device), 0);
	return 0;
}

static struct vm_exit io(u16 port, u8 size, bool in)
{
	return (struct vm_exit){.reason = EXIT_IO,
				.insn_len = 2,
				.io = {.port = port, .size = size, .in = in, .seg = SEG_COUNT}};
}

static struct vm_exit string(u16 port, u8 size, bool in, bool rep)
{
	struct vm_exit e = io(port, size, in);

	e.io.string = true;
	e.io.rep = rep;
	e.io.address_size = 4;
	e.io.seg = in ? SEG_ES : SEG_DS;
	return e;
}

static void run_user(struct vm_exit e)
{
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_IO);
	assert_true(vcpu->exit_pending);
}

/* REP OUTS: one element, which is complete at the exit. */
static void run_output_string(u16 port, u8 size)
{
	struct vm_exit e = string(port, size, false, true);

	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_IO);
	assert_int_equal(vcpu->exit.io.count, 1);
	assert_false(vcpu->exit_pending);
}

static u32 u32_at(u64 gpa)
{
	u32 value;

	memcpy(&value, guest_at(gpa), sizeof(value));
	return value;
}

static u8 *data(void)
{
	return vcpu->io_data;
}

static void a_device_answers_by_size(void **state)
{
	static const u64 expected[] = {0, 0xaaaaaaaabbbbbb00, 0xaaaaaaaabbbb1101, 0, 0x11111102};

	for (u32 size = 1, i = 0; size <= 4; size *= 2, i++) {
		vcpu->v.gpr[GPR_RAX] = 0xaaaaaaaabbbbbbbb;
		run_exit(io(0x40, size, true));
		assert_int_equal(vcpu->v.gpr[GPR_RAX], expected[size]);
		assert_int_equal(vcpu->v.rip, CODE + 2 * (i + 1));
	}
	vcpu->v.gpr[GPR_RAX] = 0xaaaaaaaabbbbbbbb;
	run_exit(io(0x43, 1, false));
	run_exit(io(0x42, 2, false));
	run_exit(io(0x40, 4, false));
	assert_int_equal(written[0], 0xbb);
	assert_int_equal(written[1], 0xbbbb);
	assert_int_equal(written[2], 0xbbbbbbbb);
}

static void a_write_to_the_vmm(void **state)
{
	vcpu->v.gpr[GPR_RAX] = 0x11223344;
	memset(data(), 0xee, 8);
	run_user(io(0x3f8, 2, false));
	assert_false(vcpu->exit.io.in);
	assert_int_equal(vcpu->exit.io.port, 0x3f8);
	assert_int_equal(vcpu->exit.io.size, 2);
	assert_int_equal(vcpu->exit.io.count, 1);
	assert_memory_equal(data(), "\x44\x33\xee", 3);
	assert_int_equal(vcpu->v.rip, CODE); /* at the instruction, until the next run */
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void a_read_from_the_vmm(void **state)
{
	static const u64 expected[] = {0, 0xaaaaaaaabbbbbb88, 0xaaaaaaaabbbb7788, 0, 0x55667788};

	for (u32 size = 1; size <= 4; size *= 2) {
		vcpu->v.gpr[GPR_RAX] = 0xaaaaaaaabbbbbbbb;
		run_user(io(0x3f8, size, true));
		memcpy(data(), "\x88\x77\x66\x55", 4);
		assert_false(vcpu_complete_exit(vcpu));
		assert_int_equal(vcpu->v.gpr[GPR_RAX], expected[size]);
	}
	assert_int_equal(vcpu->v.rip, CODE + 6);
}

static void a_vmm_that_moved_the_vcpu(void **state)
{
	vcpu->v.gpr[GPR_RAX] = 5;
	run_user(io(0x3f8, 1, true));
	vcpu->v.rip = 0x5000;
	assert_false(vcpu_complete_exit(vcpu));
	assert_int_equal(vcpu->v.rip, 0x5000);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 5);
	assert_false(vcpu->exit_pending);
}

static void port_7e_is_skipped_early(void **state)
{
	struct vm_exit e = io(0x7e, 1, false);

	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void a_device_that_declines(void **state)
{
	device_says = -EOPNOTSUPP;
	run_user(io(0x40, 1, true));
	vcpu->exit_pending = false;
	run_user(io(0x40, 1, false));
	vcpu->exit_pending = false;
	memcpy(guest_at(0x2000), "abcd", 4);
	vcpu->v.gpr[GPR_RSI] = 0x2000;
	vcpu->v.gpr[GPR_RCX] = 4;
	run_output_string(0x40, 1);
	assert_int_equal(data()[0], 'a');
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 3);
	/* Too wide for the device: the VMM's. */
	device_says = 0;
	run_user(io(0x43, 2, true));
}

static void without_a_page_ports_read_ones(void **state)
{
	vcpu->io_data = NULL;
	vcpu->v.gpr[GPR_RAX] = 0;
	run_user(io(0x3f8, 4, true));
	assert_null(data());
	vcpu_complete_exit(vcpu);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0xffffffff);
	run_user(io(0x3f8, 4, false));
}

static void outs_to_a_device_in_pieces(void **state)
{
	for (u32 i = 0; i < 100; i++)
		((u16 *)guest_at(0x2000))[i] = 1000 + i;
	vcpu->v.gpr[GPR_RSI] = 0xffffffff00002000;
	vcpu->v.gpr[GPR_RCX] = 0xffffffff00000064;
	while (vcpu->v.rip == CODE)
		run_exit(string(0x40, 2, false, true));
	assert_int_equal(writes, 100);
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(written[i], 1000 + i);
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0x20c8);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void ins_from_a_device(void **state)
{
	vcpu->v.gpr[GPR_RDI] = 0x2ffe; /* over a page's end */
	vcpu->v.gpr[GPR_RCX] = 3;
	while (vcpu->v.rip == CODE)
		run_exit(string(0x40, 4, true, true));
	assert_int_equal(u32_at(0x2ffe), 0x11111100);
	assert_int_equal(u32_at(0x3002), 0x11111101);
	assert_int_equal(u32_at(0x3006), 0x11111102);
	assert_int_equal(vcpu->v.gpr[GPR_RDI], 0x300a);
	assert_int_equal(reads, 3);
}

static void one_element_without_rep(void **state)
{
	vcpu->v.gpr[GPR_RSI] = 0x2000;
	vcpu->v.gpr[GPR_RCX] = 7;
	run_exit(string(0x40, 1, false, false));
	assert_int_equal(writes, 1);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 7);
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0x2001);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void rep_with_zero_does_nothing(void **state)
{
	vcpu->v.gpr[GPR_RSI] = 0xf0000000;
	vcpu->v.gpr[GPR_RCX] = 0xffffffff00000000;
	run_exit(string(0x40, 1, false, true));
	assert_int_equal(writes, 0);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0xffffffff00000000);
}

static void downwards(void **state)
{
	memcpy(guest_at(0x2000), "abcd", 4);
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_DF);
	vcpu->v.gpr[GPR_RSI] = 0x2003;
	vcpu->v.gpr[GPR_RCX] = 4;
	while (vcpu->v.rip == CODE)
		run_exit(string(0x40, 1, false, true));
	assert_int_equal(written[0], 'd');
	assert_int_equal(written[3], 'a');
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0x1fff);
}

static void sixteen_bit_addresses_wrap(void **state)
{
	struct vm_exit e = string(0x40, 1, false, true);

	e.io.address_size = 2;
	/* With this base the wrap is in the middle of a page. */
	set_seg(SEG_DS, 16, 0x800, 0xffffffff, SEG_P | SEG_S | 3 | SEG_DB | SEG_G);
	memcpy(guest_at(0x107fe), "xyq", 3);
	*(u8 *)guest_at(0x800) = 'z';
	vcpu->v.gpr[GPR_RSI] = 0x1234fffe;
	vcpu->v.gpr[GPR_RCX] = 0x56780003;
	while (vcpu->v.rip == CODE)
		run_exit(e);
	assert_int_equal(writes, 3);
	assert_int_equal(written[1], 'y');
	assert_int_equal(written[2], 'z');
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0x12340001);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0x56780000);
}

static void outs_to_the_vmm_by_elements(void **state)
{
	for (u32 i = 0; i < 10; i++)
		((u16 *)guest_at(0x2ffa))[i] = 1000 + i;
	vcpu->v.gpr[GPR_RSI] = 0x2ffa; /* over a page's end */
	vcpu->v.gpr[GPR_RCX] = 10;
	for (u32 done = 0; done < 10; done++) {
		assert_int_equal(vcpu->v.rip, CODE);
		run_output_string(0x3f8, 2);
		assert_int_equal(*(u16 *)data(), 1000 + done);
		assert_int_equal(vcpu->v.gpr[GPR_RSI], 0x2ffc + 2 * done);
		assert_int_equal(vcpu->v.gpr[GPR_RCX], 9 - done);
	}
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void ins_from_the_vmm(void **state)
{
	vcpu->v.gpr[GPR_RDI] = 0x3000;
	vcpu->v.gpr[GPR_RCX] = 5;
	run_user(string(0x3f8, 1, true, true));
	assert_int_equal(vcpu->exit.io.count, 5);
	assert_true(vcpu->exit.io.in);
	memcpy(data(), "hello", 5);
	assert_false(vcpu_complete_exit(vcpu));
	assert_memory_equal(guest_at(0x3000), "hello", 5);
	assert_int_equal(vcpu->v.gpr[GPR_RDI], 0x3005);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

/* The count is the guest's to lose: what the VMM makes of RCX at the exit bounds what is stored. */
static void rcx_that_the_vmm_writes_bounds_ins(void **state)
{
	static const u64 by_vmm[][4] = {
		/* RCX; then RCX, RDI and RIP */
		{1, 0, 0x3001, CODE + 2},
		{0, 0, 0x3000, CODE + 2},
		{8192, 8190, 0x3002, CODE},
	};

	for (u32 i = 0; i < ARRAY_SIZE(by_vmm); i++) {
		vcpu->v.rip = CODE;
		vcpu->v.gpr[GPR_RDI] = 0x3000;
		vcpu->v.gpr[GPR_RCX] = 2;
		run_user(string(0x3f8, 1, true, true));
		assert_int_equal(vcpu->exit.io.count, 2);
		vcpu->v.gpr[GPR_RCX] = by_vmm[i][0];
		assert_false(vcpu_complete_exit(vcpu));
		assert_int_equal(vcpu->v.gpr[GPR_RCX], by_vmm[i][1]);
		assert_int_equal(vcpu->v.gpr[GPR_RDI], by_vmm[i][2]);
		assert_int_equal(vcpu->v.rip, by_vmm[i][3]);
	}
}

static void memory_is_checked_first(void **state)
{
	struct vm_exit e = string(0x40, 1, false, true);

	/* No slot: nothing that we could read. */
	vcpu->v.gpr[GPR_RSI] = 0xe0000000;
	vcpu->v.gpr[GPR_RCX] = 1;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_INTERNAL_ERROR);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	/* A slot without its page */
	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	vcpu->v.gpr[GPR_RSI] = 0x800ffe;
	e = string(0x40, 4, false, false);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x800000);
	assert_false(vcpu->exit.memory.write);
	assert_int_equal(writes, 0);
	vcpu->v.gpr[GPR_RDI] = 0x801000;
	e = string(0x40, 4, true, false);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_true(vcpu->exit.memory.write);
	assert_int_equal(reads, 0); /* the device has not been asked */
	assert_int_equal(vcpu->v.rip, CODE);
}

static void a_page_lost_before_the_answer(void **state)
{
	vcpu->v.gpr[GPR_RDI] = 0x3000;
	run_user(string(0x3f8, 1, true, false));
	assert_int_equal(guest_mem_unmap(&machine_vm->mem, GPA(0), GUEST_SIZE), 0);
	guest_mem_unmap_finish(&machine_vm->mem, GPA(0), GUEST_SIZE);
	data()[0] = 'Q';
	assert_int_equal(run(), RUN_FAULT);
	assert_true(vcpu->exit_pending);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x3000);
	assert_true(vcpu->exit.memory.write);
	assert_int_equal(guest_mem_map(&machine_vm->mem, GPA(0), HPA(GUEST_AT), GUEST_SIZE, true),
			 0);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(*(u8 *)guest_at(0x3000), 'Q');
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void page_faults_of_strings(void **state)
{
	u64 *pt;

	mode_long();
	pt = guest_at(TABLES + 0x3000);
	pt[5] = 0;
	vcpu->v.gpr[GPR_RSI] = 0x5010;
	run_exit(string(0x40, 1, false, false));
	assert_exception(VECTOR_PF);
	assert_int_equal(reg(VREG_CR2), 0x5010);
	assert_int_equal(last_event().error, 0);
	pt[5] = 0x5000 | PTE_P;
	mode_cpl(3);
	vcpu->v.gpr[GPR_RDI] = 0x5010;
	run_exit(string(0x40, 1, true, false));
	assert_exception(VECTOR_PF);
	assert_int_equal(last_event().error, PF_PRESENT | PF_WRITE | PF_USER);
	assert_int_equal(reads, 0);
	assert_int_equal(vcpu->v.rip, CODE);
}

static void segments_of_strings(void **state)
{
	struct vm_exit out = string(0x40, 4, false, false), in = string(0x40, 4, true, false);

	set_seg(SEG_DS, 16, 0, 0x2002, SEG_P | SEG_S | 3 | SEG_DB);
	vcpu->v.gpr[GPR_RSI] = 0x2000;
	run_exit(out); /* limit */
	assert_exception(VECTOR_GP);
	set_seg(SEG_DS, 0, 0, 0, 0);
	run_exit(out); /* null */
	assert_exception(VECTOR_GP);
	out.io.seg = SEG_SS;
	set_seg(SEG_SS, 16, 0, 0x1000, SEG_P | SEG_S | 3 | SEG_DB);
	run_exit(out);
	assert_exception(VECTOR_SS);
	vcpu->v.gpr[GPR_RDI] = 0x2000;
	set_seg(SEG_ES, 16, 0, 0xffffffff, SEG_P | SEG_S | 1 | SEG_DB);
	run_exit(in); /* read-only */
	assert_exception(VECTOR_GP);
	/* Expand-down: valid above the limit */
	set_seg(SEG_ES, 16, 0, 0x2000, SEG_P | SEG_S | 7 | SEG_DB);
	run_exit(in);
	assert_exception(VECTOR_GP);
	assert_int_equal(events_delivered(), 5);
	vcpu->v.gpr[GPR_RDI] = 0x2001;
	run_exit(in);
	assert_int_equal(events_delivered(), 5);
	assert_int_equal(reads, 1);
	/* A base counts */
	set_seg(SEG_ES, 16, 0x10000, 0xffff, SEG_P | SEG_S | 3 | SEG_DB);
	vcpu->v.gpr[GPR_RDI] = 0x20;
	run_exit(in);
	assert_int_equal(u32_at(0x10020), 0x11111101);
}

static void long_mode_strings_must_be_canonical(void **state)
{
	struct vm_exit e = string(0x40, 1, false, false);

	mode_long();
	e.io.address_size = 8;
	vcpu->v.gpr[GPR_RSI] = 0x800000000000;
	run_exit(e);
	assert_exception(VECTOR_GP);
	e.io.seg = SEG_GS;
	set_seg(SEG_GS, 0, 0x6000, 0, 0);
	*(u8 *)guest_at(0x6010) = 0x77;
	vcpu->v.gpr[GPR_RSI] = 0x10;
	run_exit(e);
	assert_int_equal(written[0], 0x77);
}

static void without_decode_assists(void **state)
{
	struct vm_exit e = string(0x40, 1, false, true);

	/* a16 rep es outsb */
	memcpy(guest_at(CODE), "\x67\xf3\x26\x6e", 4);
	e.io.seg = SEG_COUNT;
	e.io.address_size = 0;
	e.insn_len = 0;
	set_seg(SEG_ES, 16, 0x10000, 0xffff, SEG_P | SEG_S | 3 | SEG_DB);
	*(u8 *)guest_at(0x10008) = 0x99;
	vcpu->v.gpr[GPR_RSI] = 0xffff0008;
	vcpu->v.gpr[GPR_RCX] = 0xffff0001;
	run_exit(e);
	assert_int_equal(written[0], 0x99);
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0xffff0009);
	assert_int_equal(vcpu->v.rip, CODE + 4);
	/* An input's segment is ES whatever the prefix. */
	memcpy(guest_at(CODE + 4), "\x64\x6c", 2);
	e = string(0x40, 1, true, false);
	e.io.seg = SEG_COUNT;
	vcpu->v.gpr[GPR_RDI] = 0x30;
	run_exit(e);
	assert_int_equal(*(u8 *)guest_at(0x10030), 0x00);
	assert_int_equal(reads, 1);
}

static void a_string_that_cannot_be_fetched(void **state)
{
	struct vm_exit e = string(0x40, 1, false, true);

	e.io.seg = SEG_COUNT;
	vcpu->v.rip = 0xe0000000;
	vcpu->v.gpr[GPR_RCX] = 1;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_INTERNAL_ERROR);
	assert_int_equal(writes, 0);
	vcpu->v.rip = CODE;
	memcpy(guest_at(CODE), "\x0f\x0a", 2);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	assert_int_equal(writes, 0);
}

static void a_single_step_stops_after_each_element(void **state)
{
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
	vcpu->v.gpr[GPR_RSI] = 0x2000;
	vcpu->v.gpr[GPR_RCX] = 2;
	run_exit(string(0x40, 1, false, true));
	assert_exception(VECTOR_DB);
	assert_int_equal(writes, 1);
	assert_int_equal(vcpu->v.rip, CODE);
	run_exit(string(0x40, 1, false, true));
	assert_int_equal(events_delivered(), 2);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_device_answers_by_size, setup),
		cmocka_unit_test_setup(a_write_to_the_vmm, setup),
		cmocka_unit_test_setup(a_read_from_the_vmm, setup),
		cmocka_unit_test_setup(a_vmm_that_moved_the_vcpu, setup),
		cmocka_unit_test_setup(port_7e_is_skipped_early, setup),
		cmocka_unit_test_setup(a_device_that_declines, setup),
		cmocka_unit_test_setup(without_a_page_ports_read_ones, setup),
		cmocka_unit_test_setup(outs_to_a_device_in_pieces, setup),
		cmocka_unit_test_setup(ins_from_a_device, setup),
		cmocka_unit_test_setup(one_element_without_rep, setup),
		cmocka_unit_test_setup(rep_with_zero_does_nothing, setup),
		cmocka_unit_test_setup(downwards, setup),
		cmocka_unit_test_setup(sixteen_bit_addresses_wrap, setup),
		cmocka_unit_test_setup(outs_to_the_vmm_by_elements, setup),
		cmocka_unit_test_setup(ins_from_the_vmm, setup),
		cmocka_unit_test_setup(rcx_that_the_vmm_writes_bounds_ins, setup),
		cmocka_unit_test_setup(memory_is_checked_first, setup),
		cmocka_unit_test_setup(a_page_lost_before_the_answer, setup),
		cmocka_unit_test_setup(page_faults_of_strings, setup),
		cmocka_unit_test_setup(segments_of_strings, setup),
		cmocka_unit_test_setup(long_mode_strings_must_be_canonical, setup),
		cmocka_unit_test_setup(without_decode_assists, setup),
		cmocka_unit_test_setup(a_string_that_cannot_be_fetched, setup),
		cmocka_unit_test_setup(a_single_step_stops_after_each_element, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
