# mvmm: one Makefile, not recursive.
#
#   make              build/mvmm                 V=1 shows the commands
#   make demo         boots Debian's own kernel with a disk
#   make test         everything CI runs
#   make test-guests  guests, also those that take long where there is no /dev/kvm
#   make lint fuzz soak bench install     make test-asan test-tsan
#   make static       build/static/mvmm, which needs no library where it runs
#   SANITIZE=address,undefined | thread          in a build folder of its own
#   WERROR=1          warnings are errors

ARCH   ?= $(shell uname -m | sed -e s/x86_64/x86/ -e s/aarch64/arm64/)
CC     ?= cc
CFLAGS ?= $(if $(SANITIZE),-Og -g1,-O2 -g)
PREFIX ?= /usr/local
VERSION := 0.1.0

san    := $(subst $(comma),-,$(SANITIZE))
comma  := ,
BUILD  ?= build$(if $(SANITIZE),/san-$(subst $(comma),-,$(SANITIZE)))

all_cflags := -std=gnu11 -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
	-Wpointer-arith -Wvla -Wno-unused-parameter -fno-strict-aliasing -fno-common \
	-D_GNU_SOURCE -DMVMM_VERSION='"$(VERSION)"' -I. -MMD -MP -pthread \
	$(if $(WERROR),-Werror) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) \
	$(CFLAGS)
all_ldflags := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(LDFLAGS)
# Those of the control socket come as archives, whatever else is shared: the start of a VM without one
# loads, relocates and touches nothing of them (tests/control/run).
libs   := -laio -l:libhttp_parser.a -l:libjansson.a

# The monitor is a library plus main(), so that tests link what users run.
src    := $(wildcard vmm/*.c vmm/$(ARCH)/*.c devices/*.c virtio/*.c virtio/blk/*.c loader/*.c) \
	$(filter-out vmm/cli/main.c,$(wildcard vmm/cli/*.c vmm/cli/api/*.c))
obj    := $(src:%.c=$(BUILD)/%.o) $(BUILD)/vmm/cli/bench_guest.o $(BUILD)/vmm/cli/filters.o
unit   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
dptest := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/dataplane/test_*.c))
dpload := $(BUILD)/tests/dataplane/load
sbtool := $(addprefix $(BUILD)/tests/sandbox/,list poke $(if $(filter x86,$(ARCH)),force))
serve  := $(addprefix $(BUILD)/tests/control/,serve cost mvmm-bare)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

.PHONY: all static
all: $(BUILD)/mvmm
static: $(BUILD)/static/mvmm

$(BUILD)/static/mvmm: private all_ldflags += -static
$(BUILD)/mvmm $(BUILD)/static/mvmm: $(BUILD)/vmm/cli/main.o $(BUILD)/libmvmm.a
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(all_ldflags) -o $@ $^ $(libs)

$(BUILD)/libmvmm.a: $(obj)
	$(say) AR $@
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(all_cflags) -c -o $@ $<

# The sandbox's lists (vmm/cli/roles.c) become seccomp programs here, not at every start; libseccomp
# is needed on the building machine only. HOSTCC: its own compiler, where CC is for another.
HOSTCC ?= $(CC)
mkfilters := $(BUILD)/scripts/mkfilters

$(mkfilters): scripts/mkfilters.c vmm/cli/roles.c vmm/cli/roles.h vmm/sandbox.h
	@mkdir -p $(@D)
	$(say) HOSTCC $@
	$(Q)$(HOSTCC) -std=gnu11 -O1 -D_GNU_SOURCE -I. -o $@ $(filter %.c,$^) -lseccomp

$(BUILD)/vmm/cli/filters.c: $(mkfilters)
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q)$< $(ARCH) >$@.tmp && mv $@.tmp $@

$(BUILD)/vmm/cli/filters.o: $(BUILD)/vmm/cli/filters.c
	$(say) CC $<
	$(Q)$(CC) $(all_cflags) -c -o $@ $<

# The guest of `mvmm bench` is part of the binary; there is none for other architectures yet.
bench_elf := $(if $(filter x86,$(ARCH)),$(BUILD)/guest/bench.elf)
$(BUILD)/vmm/cli/bench_guest.o: private all_cflags += $(if $(bench_elf),-DBENCH_GUEST='"$(bench_elf)"')
$(BUILD)/vmm/cli/bench_guest.o: $(bench_elf)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libmvmm.a
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CC) $(all_cflags) -MF $@.d $(all_ldflags) -o $@ $< $(BUILD)/libmvmm.a $(libs) -lcmocka

# Where the monitor's calls fail by number: tests/unit/failing_calls.h
failing_wrap := malloc calloc aligned_alloc strdup asprintf open_memstream pthread_create eventfd \
	timerfd_create epoll_create1 socketpair mkostemp io_setup madvise stat fstat statx fstatfs \
	lseek pread ftruncate fallocate mmap munmap open openat fcntl ioctl
$(BUILD)/tests/unit/test_%_faults: private all_ldflags += $(failing_wrap:%=-Wl,--wrap=%)

.PHONY: unit dataplane sandbox control
unit: $(unit)
dataplane: $(dptest) $(dpload)
sandbox: $(sbtool)
control: $(serve)

# Fuzz targets, with libFuzzer as main() (`make fuzz`) or with one that replays a corpus. Some stand
# in the way of calls inside the library.
fuzz_names := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
fuzzers    := $(fuzz_names:%=$(BUILD)/tests/fuzz/fuzz_%)
replays    := $(fuzz_names:%=$(BUILD)/tests/fuzz/replay_%)
fuzz_common = $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/loads.o $(BUILD)/libmvmm.a
fuzz_wrap_kernel := bzimage_load elf_load
fuzz_wrap_mmio := log_guest
fuzz_wrap_pci := log_guest
fuzz_wrap_ring := virtq_start virtq_pop virtq_push virtq_publish virtq_disable_notify \
	virtq_enable_notify dataplane_poll_once dataplane_now iov_read blk_aio_queue \
	blk_blocking_read_cached

.PHONY: fuzzers replays
fuzzers: $(fuzzers)
replays: $(replays)
$(fuzzers): $(BUILD)/tests/fuzz/fuzz_%: $(fuzz_common)
$(replays): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/replay.o $(fuzz_common)
$(fuzzers) $(replays):
	$(say) FUZZ $@
	$(Q)$(CC) $(all_ldflags) $(fuzz_wrap_$(word 2,$(subst _, ,$(@F))):%=-Wl,--wrap=%) -o $@ \
		$(filter %.o,$^) $(BUILD)/libmvmm.a $(libs)

# Only what is tested leads libFuzzer. In virtio/ it may also change what a guest's other vCPU could:
# memory between two loads of the device.
ifneq ($(findstring fuzzer,$(SANITIZE)),)
$(BUILD)/tests/fuzz/%.o: private all_cflags += -fno-sanitize=fuzzer
$(BUILD)/virtio/%.o: private all_cflags += -fsanitize-coverage=trace-loads
endif

# The explorer of interleavings and what it explores: the monitor's own sources, with their atomic
# accesses and their system calls made into its steps (tests/model/explore.h).
model_real := $(addprefix virtio/,virtqueue $(addprefix blk/,aio_native aio_pool dataplane_failed \
	dataplane_flush dataplane_io dataplane_loop dataplane_poll dataplane_throttle mailbox \
	thread))
model_hooked := $(patsubst %,$(BUILD)/tests/model/hooked/%.o,$(model_real) tests/model/ring \
	tests/model/pool)
model_obj  := $(model_hooked) $(patsubst %,$(BUILD)/tests/model/%.o,explore memory kernel races)
model_wrap := write read close poll epoll_wait eventfd syscall clock_gettime sched_yield \
	pthread_create pthread_join blk_blocking_execute
races      := $(BUILD)/tests/model/races

.PHONY: races
races: $(races)

$(BUILD)/tests/model/hooked/%.o: %.c tests/model/hooks.h
	@mkdir -p $(@D)
	$(say) CC "$< (hooked)"
	$(Q)$(CC) $(all_cflags) -Wno-shadow -include tests/model/hooks.h -c -o $@ $<

$(races): $(model_obj) $(BUILD)/libmvmm.a
	$(say) LD $@
	$(Q)$(CC) $(all_ldflags) $(model_wrap:%=-Wl,--wrap=%) -o $@ $^ $(libs)

# mvmm without the libraries of the control socket, whose functions are traps: to see what they cost
# who has none.
$(BUILD)/tests/control/bare.S: $(BUILD)/vmm/cli/main.o $(BUILD)/libmvmm.a
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q)nm -u --format=posix $^ | awk '/^(json|http)_/ { print ".globl " $$1 "\n" $$1 ":" } \
		END { print "\t.byte 0x0f, 0x0b\n.section .note.GNU-stack, \"\"" }' | awk '!seen[$$0]++' >$@

$(BUILD)/tests/control/mvmm-bare: $(BUILD)/vmm/cli/main.o $(BUILD)/tests/control/bare.S \
		$(BUILD)/libmvmm.a
	$(say) LD $@
	$(Q)$(CC) $(all_ldflags) -o $@ $^ $(filter -laio,$(libs))

# Freestanding guests at fixed addresses, booted by PVH or, without its note, by the 64-bit entry:
# guest/ is their library, guest/bench what `mvmm bench` boots, tests/guest/payload a guest of tests.
guest_cflags := -std=gnu11 -O2 -g -Wall -Wextra -Wshadow -Wmissing-prototypes \
	-Wstrict-prototypes -Wpointer-arith -Wvla -Wno-unused-parameter $(if $(WERROR),-Werror) \
	-I. -MMD -MP -ffreestanding -fno-pie -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -mgeneral-regs-only -mno-red-zone
guest_ldflags := -nostdlib -static -Wl,-T,guest/guest.ld -Wl,-z,noexecstack -Wl,--build-id=none
guest_objects  = $(patsubst %,$(BUILD)/%.o,$(basename $(wildcard $(1)/*.[cS])))
guest_lib     := $(call guest_objects,guest)
bench_obj     := $(guest_lib) $(call guest_objects,guest/bench)
payload_obj   := $(guest_lib) $(call guest_objects,tests/guest/payload)
payload_dir   := $(BUILD)/tests/guest
small_guest   := $(BUILD)/tests/cli/guest
payloads      := $(if $(filter x86,$(ARCH)),$(payload_dir)/payload.elf $(payload_dir)/payload64.elf)
slowdisk      := $(payload_dir)/slowdisk

.PHONY: payload
payload: $(payloads) $(slowdisk) $(if $(payloads),$(small_guest))

$(BUILD)/guest/%.o $(BUILD)/tests/guest/payload/%.o: all_cflags = $(guest_cflags)

$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(say) AS $<
	$(Q)$(CC) $(all_cflags) -c -o $@ $<

$(payload_dir)/payload.elf: $(payload_obj)
$(payload_dir)/payload64.elf: $(filter-out %/pvh_note.o,$(payload_obj))
$(payloads): guest/guest.ld
	$(say) LD $@
	$(Q)$(CC) $(guest_ldflags) -o $@ $(filter %.o,$^)

# A few bytes, for what needs no more than a guest that ends.
$(small_guest): tests/cli/guest.S
	@mkdir -p $(@D)
	$(say) AS $@
	$(Q)$(CC) -nostdlib -static -no-pie -Wl,-Ttext=0x200000,--build-id=none -o $@ $<

$(bench_elf): $(bench_obj) guest/guest.ld
	$(say) LD $@
	$(Q)$(CC) $(guest_ldflags) -s -o $@ $(filter %.o,$^)

# For the power-cut test, static because it runs in guests: what writes and looks for records, and a
# mvmm whose syncs do nothing, which the test has to find out.
dur    := $(BUILD)/tests/durability

.PHONY: durability
durability: $(dur)/records $(dur)/mvmm-nosync

$(dur)/records $(dur)/mvmm-nosync: private all_ldflags += -static
$(dur)/records: tests/durability/records.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(all_cflags) -MF $@.d $(all_ldflags) -o $@ $<

$(dur)/mvmm-nosync: $(BUILD)/vmm/cli/main.o $(dur)/nosync.o $(BUILD)/libmvmm.a
	$(say) LD $@
	$(Q)$(CC) $(all_ldflags) -o $@ $^ $(libs)

# Makes system calls fail; `make test-faults` is the long form of what `make test` does with it.
inject := $(BUILD)/tests/faults/inject
faults := $(filter-out %.c %.sh,$(wildcard tests/faults/*))

$(inject): tests/faults/inject.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(all_cflags) -MF $@.d -o $@ $<

# Everything below installs what it needs (as root) or says what is missing.
jobs   := $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
tests  := $(unit) $(dptest)
asan   := $(patsubst $(BUILD)/%,build/san-address-undefined/%,$(tests) $(replays))
# Of those that are built, the programs that can make a thread: others have nothing for TSan to see.
tsan    = $(patsubst $(BUILD)/%,build/san-thread/%,$(shell nm -ADu $(tests) | \
	sed -n 's/:.* pthread_create.*//p'))
# Judges rates by the clock and mostly waits for it, so it runs with nothing but itself.
clock  := %/test_throttle_rate
# Guests under ASan only: TSan cannot see what a guest orders by its own instructions.
asan_mvmm := MVMM=$(CURDIR)/build/san-address-undefined/mvmm

.PHONY: demo
demo:
	@scripts/deps demo
	@$(MAKE) -s $(jobs) all
	@scripts/demo

.PHONY: lint
lint:
	@scripts/deps test
	@tests/run -t 1200 scripts/lint

# The compiler's opinion only: nothing is made.
look_at := xargs -P "$$(nproc)" -n 8 $(CC)
.PHONY: syntax
syntax:
	$(Q)printf '%s\n' $(src) vmm/cli/main.c $(wildcard tests/unit/*.c tests/dataplane/*.c \
		tests/fuzz/*.c) | $(look_at) $(filter-out -MMD -MP,$(all_cflags)) -fsyntax-only
	$(Q)printf '%s\n' $(wildcard guest/*.c guest/bench/*.c) | \
		$(look_at) $(filter-out -MMD -MP,$(guest_cflags)) -fsyntax-only

.PHONY: format
format:
	find vmm virtio devices loader guest tests scripts -name '*.[ch]' | xargs clang-format -i

# The programs of one sanitizer: `make test-asan` and `make test-tsan` run them alone.
.PHONY: build-tests build-asan build-tsan test-asan test-tsan
build-tests:
	@scripts/deps test
	@$(MAKE) $(jobs) WERROR=1 all unit dataplane sandbox control payload replays races $(inject) \
		$(bench_tools) static durability
build-asan:
	@scripts/deps test
	@$(MAKE) $(jobs) WERROR=1 SANITIZE=address,undefined all unit dataplane replays
build-tsan: build-tests
	@[ "$(tsan)" ] || { echo "nm finds no program that makes threads"; exit 1; }
	@$(MAKE) $(jobs) WERROR=1 SANITIZE=thread $(tsan)
test-asan: build-asan
	@tests/run -t 240 $(asan)
test-tsan: build-tsan
	@tests/run -t 240 $(tsan)

.PHONY: test-faults
test-faults: build-tests
	@tests/run FULL=1 -t 43200 $(faults)

# Guests run on this host's /dev/kvm; where there is none, in an emulated machine that has one. It is
# ten times as slow: `make test` then leaves `rest` to `make test-guests`. Debian's kernels need it on
# most hosts: QUICK=1 are some of their cases. Two at a time, and so bounds of time are doubled.
guests := tests/linux/run tests/lab/with-kvm tests/cli/run tests/sandbox/run tests/faults/files \
	tests/faults/limits tests/faults/storage tests/faults/terminal tests/durability/ends \
	tests/guest/hostile tests/demo
rest   := tests/durability/powercut tests/soak/run $(filter-out $(guests),$(faults)) \
	tests/sandbox/systemd tests/bench/real
kvm    := $(wildcard /dev/kvm)
skip   := $(if $(kvm),,-s "takes long without /dev/kvm: make test-guests")

.PHONY: build-guests test test-guests soak
build-guests:
	@$(MAKE) build-tests
	@$(MAKE) build-asan

test: build-guests
	@$(MAKE) build-tsan
	@tests/run -t 300 -j 3 $(filter $(clock),$(tests) $(asan) $(tsan)) \
		-j 1 tests/run-selftest tests/bench/selftest -j 4 \
		$(filter-out $(clock),$(tests) $(replays) $(asan) $(tsan)) \
		-t 1200 -j 2 tests/control/run tests/model/run tests/lockfree/run scripts/lint \
		-t 3600 SLOWNESS=2 QUICK=1 $(asan_mvmm) tests/guest/hostile $(skip) tests/lab/with-kvm -s "" \
		MVMM= QUICK=1 $(guests) $(skip) $(rest)

test-guests: build-guests
	@tests/run -t 3600 -j 2 SLOWNESS=2 $(guests) $(rest) $(asan_mvmm) tests/guest/hostile tests/lab/with-kvm

# Hours of what these do for a minute.
soak: build-guests
	@$(MAKE) build-tsan
	@tests/run -t 86400 LONG=1 FULL=1 tests/model/run tests/soak/sanitized \
		$(filter %/test_hostile,$(asan)) -j 2 SLOWNESS=2 tests/soak/run tests/soak/plug \
		tests/soak/hotplug tests/durability/ends tests/durability/powercut $(faults) \
		SOAK=600 tests/guest/hostile $(asan_mvmm) tests/guest/hostile

# Every target for TIME seconds, two at a time; what fails is kept in build/fuzz.
TIME ?= 60

.PHONY: fuzz
fuzz:
	@scripts/deps fuzz
	@$(MAKE) $(jobs) WERROR=1 CC=clang CFLAGS="-g -O1" BUILD=build/fuzz \
		SANITIZE=fuzzer,address,undefined fuzzers
	@tests/fuzz/run build/fuzz $(TIME)

# Side by side with the peers that are installed: see tests/bench/bench for QUICK=1 and the rest.
bench_tools := $(BUILD)/tests/bench/first_byte $(BUILD)/tests/bench/hello.elf

.PHONY: bench
bench: all $(bench_tools)
	@BUILD=$(BUILD) tests/bench/bench

# Start-up and memory only, in a few seconds.
.PHONY: bench-startup
bench-startup: all $(bench_tools)
	@BUILD=$(BUILD) tests/bench/startup

$(BUILD)/tests/bench/first_byte: tests/bench/first_byte.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -o $@ $<

$(BUILD)/tests/bench/hello.elf: tests/bench/hello.S
	@mkdir -p $(@D)
	$(say) AS $<
	$(Q)$(CC) $(guest_ldflags) -Wl,-e,_start -no-pie -o $@ $<

# DESTDIR and PREFIX as packagers expect them; nothing is built as root but what is missing.
bindir  := $(DESTDIR)$(PREFIX)/bin
mandir  := $(DESTDIR)$(PREFIX)/share/man/man1
compdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
unitdir := $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: install uninstall
install: all
	install -D -m 755 $(BUILD)/mvmm $(bindir)/mvmm
	install -D -m 644 docs/mvmm.1 $(mandir)/mvmm.1
	install -D -m 644 docs/completion/mvmm.bash $(compdir)/mvmm
	install -d $(unitdir)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' docs/systemd/mvmm@.service >$(unitdir)/mvmm@.service

uninstall:
	rm -f $(bindir)/mvmm $(mandir)/mvmm.1 $(compdir)/mvmm $(unitdir)/mvmm@.service

.PHONY: clean
clean:
	rm -rf build

-include $(fuzzers:=.d) $(BUILD)/tests/fuzz/replay.d
-include $(obj:.o=.d) $(BUILD)/vmm/cli/main.d $(addsuffix .d,$(unit) $(dptest) $(dpload)) \
	$(sbtool:=.d) $(serve:=.d) $(payload_obj:.o=.d) $(bench_obj:.o=.d) $(model_obj:.o=.d)
