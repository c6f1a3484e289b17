/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go while they, and others, are at work. */
#include "tests/unit/plug_rig.h"

#include <signal.h>

#include "tests/dataplane/slow.h"

static void run_for(struct plug_rig *rig, unsigned ms)
{
	struct loop_timer tick = { .expired = expired };
	const uint64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		loop_timer_set(&rig->loop, &tick, end);
		loop_once(&rig->loop);
	}
	loop_timer_cancel(&rig->loop, &tick);
}

static unsigned held(void)
{
	unsigned n;

	pthread_mutex_lock(&slow.lock);
	n = slow.n;
	pthread_mutex_unlock(&slow.lock);
	return n;
}

static struct machine_disk *add_loaded(struct plug_rig *rig, const char *text, struct driver *drv)
{
	assert_int_equal(add(rig, text), 0);
	decode(rig, 1, BAR);
	drive(rig, rig->disk, drv);
	load(rig, rig->disk, drv);
	return rig->disk;
}

static void what_is_in_flight_ends_before_anything_is_given_back(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *disk;
	struct fake_done done;
	struct driver drv;
	char text[160];

	hold_io(true);
	disk = add_loaded(rig, strcat(strcpy(text, image(rig, "a.img")), ",queue-size=512"), &drv);
	if (disk->blk.backend.aio != DISK_AIO_NATIVE)
		skip(); /* no O_DIRECT there */
	while (held() < REQUESTS)
		sched_yield();
	assert_int_equal(take_out(rig, disk, 0), 0);
	run_for(rig, 100);
	assert_int_equal(config(rig, 1), ABSENT);
	assert_int_equal(rig->removed, 0);
	assert_int_equal(rig->m.ndisks, 1);
	assert_int_not_equal(fake_kvm.nio, 0);
	assert_false(fake_queue_poll(&drv.queue, &done));
	release_held();
	run_until(rig, 1);
	assert_int_equal(answered(rig, &drv), REQUESTS);
	assert_int_equal(fake_kvm.nio, 0);
}

/* Parked by a limit: they were never begun, and nobody waits for them. */
static void what_waits_for_a_limit_is_dropped(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *disk;
	struct fake_done done;
	struct driver drv;
	char text[160];

	strcat(strcpy(text, image(rig, "a.img")), ",iops=1,queue-size=512");
	disk = add_loaded(rig, text, &drv);
	while (!fake_queue_poll(&drv.queue, &done))
		sched_yield();
	assert_int_equal(take_out(rig, disk, -1), 0);
	eject(rig, 1u << 1);
	run_until(rig, 1);
	assert_in_range(answered(rig, &drv), 1, REQUESTS / 2);
}

/* ---- a guest beside main --------------------------------------------------------------------- */

static void *vcpu_main(void *opaque)
{
	struct plug_rig *rig = opaque;
	struct bus *mmio = &rig->m.vm.mmio;
	unsigned seed = 1;
	uint32_t value;

	while (!rig->stop) {
		const unsigned slot = 1 + rand_r(&seed) % 3;

		switch (rand_r(&seed) % 5) {
		case 0:
			decode(rig, slot, BAR + 0x8000 * (rand_r(&seed) % 4));
			break;
		case 1:
			/* Or what nobody has asked for. */
			eject(rig, rand_r(&seed) % 4 ? in(rig, HOTPLUG_ASKED) : ~0u);
			break;
		case 2:
			value = rand_r(&seed) & 0xf;
			bus_write(mmio, BAR + 0x8000 * (slot - 1) + 0x14, &value, 1); /* status */
			break;
		default:
			bus_read(mmio, BAR + (rand_r(&seed) & 0x1fffc), &value, 4);
		}
	}
	return NULL;
}

static void disks_come_and_go_under_a_vcpu(void **state)
{
	struct plug_rig *rig = *state;
	pthread_t vcpu;

	assert_int_equal(pthread_create(&vcpu, NULL, vcpu_main, rig), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(add(rig, image(rig, "a.img")), 0);
		assert_int_equal(add(rig, image(rig, "b.img")), 0);
		for (unsigned j = 0; j < 2; j++)
			assert_true(pci_func_is_shown(&rig->m.disk[j]->pci.func));
		assert_int_equal(take_out(rig, rig->m.disk[0], 5), 0);
		run_until(rig, 2 * i + 1);
		assert_int_equal(take_out(rig, rig->m.disk[0], 0), 0);
		run_until(rig, 2 * i + 2);
		assert_int_equal(rig->m.ndisks, 0);
		/* What was taken away is given up by now, or later. */
		eject(rig, ~0u);
	}
	rig->stop = true;
	pthread_join(vcpu, NULL);
	assert_int_equal(fake_kvm.nio, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
}

/* ---- a disk beside main ---------------------------------------------------------------------- */

#define TURNS	6
#define LAPS	2 /* one of them whole */
#define SIGNALS 8 /* in each turn */

/*
 * Another disk at work: a sector is written, read back and compared, over and over, by a guest's thread
 * and the disk's own. In the meantime main adds and removes, and stands still wherever this finds it:
 * before each request to KVM and, by a signal, anywhere else, with whatever locks it has. It goes on when
 * the other disk has worked LAPS times. So this shows that no step of main's is waited for, however long
 * it takes, on a machine of any speed; not that no step takes CPU time or memory bandwidth.
 */
static struct other {
	struct plug_rig *rig;
	struct machine_disk *disk;
	struct driver drv;
	gpa_t header, data, status;
	pthread_t main;
	atomic_uint laps;
	atomic_bool stop, wrong;
	atomic_bool held_up; /* main has stood still for PATIENCE */
	atomic_uint stands;  /* how often main has */
	atomic_uint signals; /* that may still be sent */
} other;

static void stand_still(void)
{
	const unsigned from = other.laps;
	const uint64_t end = clock_ms() + PATIENCE;

	if (!pthread_equal(pthread_self(), other.main) || other.held_up)
		return;
	while (!other.stop && other.laps - from < LAPS && !other.held_up) {
		sched_yield();
		other.held_up = clock_ms() > end;
	}
	other.stands++;
}

static void take_signal(int sig)
{
	const int saved = errno;

	stand_still();
	errno = saved;
}

static bool transfer(uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	const unsigned writable = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
	struct fake_buf buf[] = {
		{ other.header, sizeof(hdr), 0 },
		{ other.data, 512, writable },
		{ other.status, 1, VRING_DESC_F_WRITE },
	};
	struct fake_done done;

	memcpy(fake_guest_ptr(&other.rig->guest, other.header), &hdr, sizeof(hdr));
	if (fake_queue_add(&other.drv.queue, buf, 3, 0) < 0)
		return false;
	if (fake_queue_publish(&other.drv.queue))
		virtio_dev_kick(&other.disk->blk.dev, 0);
	while (!fake_queue_poll(&other.drv.queue, &done))
		if (other.stop)
			return false;
		else
			sched_yield();
	return !*(uint8_t *)fake_guest_ptr(&other.rig->guest, other.status);
}

static bool lap(unsigned n)
{
	uint8_t *data = fake_guest_ptr(&other.rig->guest, other.data);
	bool same;

	memset(data, n, 512);
	if (!transfer(VIRTIO_BLK_T_OUT, n % 1024))
		return false;
	memset(data, ~n, 512);
	same = transfer(VIRTIO_BLK_T_IN, n % 1024);
	return same && data[0] == (uint8_t)n && !memcmp(data, data + 1, 511);
}

static void *work(void *opaque)
{
	while (!other.stop)
		if (lap(other.laps))
			other.laps++;
		else if (!other.stop)
			other.wrong = other.stop = true;
	return NULL;
}

static void *pester(void *opaque)
{
	unsigned seed = 1;

	while (!other.stop) {
		usleep(rand_r(&seed) % 200);
		if (!other.signals)
			continue;
		other.signals--;
		pthread_kill(other.main, SIGUSR1);
	}
	return NULL;
}

static void begin_other(struct plug_rig *rig)
{
	const struct sigaction action = { .sa_handler = take_signal, .sa_flags = SA_RESTART };
	char text[160];

	memset(&other, 0, sizeof(other));
	other.rig = rig;
	other.main = pthread_self();
	strcat(strcpy(text, image(rig, "other.img")), ",queue-size=512");
	assert_int_equal(add(rig, text), 0);
	other.disk = rig->disk;
	decode(rig, 1, BAR);
	drive(rig, other.disk, &other.drv);
	other.header = fake_guest_alloc(&rig->guest, sizeof(struct virtio_blk_outhdr), 16);
	other.data = fake_guest_alloc(&rig->guest, 512, 512);
	other.status = fake_guest_alloc(&rig->guest, 1, 1);
	sigaction(SIGUSR1, &action, NULL);
	fake_kvm.before = stand_still;
}

/* So that there are irqfds and routes to take away. */
static void unmask(struct plug_rig *rig, const struct machine_disk *disk, unsigned slot,
		   uint32_t bar)
{
	const uint32_t entry[] = { 0xfee00000, 0, 0x40, 0 };
	const uint16_t enable = PCI_MSIX_FLAGS_ENABLE;
	const uint64_t cap = X86_ECAM + (slot << 15) + disk->pci.msix_cap;

	bus_write(&rig->m.vm.mmio, cap + PCI_MSIX_FLAGS, &enable, sizeof(enable));
	for (unsigned i = 0; i < 8; i++)
		bus_write(&rig->m.vm.mmio, bar + VIRTIO_PCI_MSIX + 4 * i, &entry[i % 4], 4);
	assert_int_equal(fake_kvm.nirqfds, 2);
}

static void other_disks_wait_for_no_step_of_main(void **state)
{
	struct plug_rig *rig = *state;
	pthread_t worker, pesterer;
	char text[160];

	begin_other(rig);
	assert_int_equal(pthread_create(&worker, NULL, work, NULL), 0);
	assert_int_equal(pthread_create(&pesterer, NULL, pester, NULL), 0);
	for (unsigned i = 0; i < TURNS && !other.held_up; i++) {
		other.signals = SIGNALS;
		strcat(strcpy(text, image(rig, "a.img")), ",queue-size=512");
		assert_int_equal(add(rig, text), 0);
		decode(rig, 2, BAR + 0x8000);
		unmask(rig, rig->disk, 2, BAR + 0x8000);
		drive(rig, rig->disk, &(struct driver){ 0 });
		assert_int_equal(take_out(rig, rig->disk, i % 2 ? 0 : -1), 0);
		if (i % 2 == 0)
			eject(rig, 1u << 2);
		run_until(rig, i + 1);
		eject(rig, ~0u);
	}
	other.stop = true;
	pthread_join(worker, NULL);
	pthread_join(pesterer, NULL);
	fake_kvm.before = NULL;
	assert_false(other.held_up);
	assert_false(other.wrong);
	assert_true(other.stands > 6 * TURNS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_in_flight_ends_before_anything_is_given_back),
		T(what_waits_for_a_limit_is_dropped),
		T(disks_come_and_go_under_a_vcpu),
		T(other_disks_wait_for_no_step_of_main),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
