/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 at random moments of a job: until it has been said that the mirror is the disk, the source
 * holds all that was acknowledged, and from then on the target does. Of a disk with an overlay the
 * base is left, as it ever was.
 *
 * A child runs the disk and the guest; what is acknowledged it writes into memory that both share,
 * because that outlives it.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/dataplane/job_rig.h"

#define ROUNDS 16
#define DEPTH  16

struct shared {
	_Atomic uint32_t sent[BLOCKS], acked[BLOCKS]; /* generations */
	char source[64], target[64];
	_Atomic bool running; /* the job has begun */
	_Atomic bool moved;   /* it has been said that the target is the disk */
	_Atomic unsigned pivots;
};

/* Writes only, one block at most once at a time. */
static void write_for_ever(struct rig *rig, struct shared *sh)
{
	struct rig_req r[DEPTH];
	uint64_t block[DEPTH];
	struct fake_done done;
	bool busy[BLOCKS] = { false };
	unsigned slot;

	srand(getpid());
	for (unsigned i = 0; i < DEPTH; i++)
		r[i] = rig_req(rig, BLOCK);
	for (unsigned n = 0;; n++) {
		slot = n;
		if (n >= DEPTH) {
			if (!rig_wait(rig, 0, &done) ||
			    rig_status(rig, &r[done.cookie]) != VIRTIO_BLK_S_OK)
				_exit(1);
			slot = done.cookie;
			sh->acked[block[slot]] = sh->sent[block[slot]];
			busy[block[slot]] = false;
		}
		do {
			block[slot] = rand() % BLOCKS;
		} while (busy[block[slot]]);
		busy[block[slot]] = true;
		fill(rig_ptr(rig, r[slot].data), block[slot], ++sh->sent[block[slot]]);
		rig_queue(rig, 0, &r[slot], VIRTIO_BLK_T_OUT, block[slot] * (BLOCK / 512), BLOCK,
			  slot);
		rig_kick(rig, 0);
	}
}

struct control {
	struct rig *rig;
	struct shared *sh;
	enum blk_copy_mode mode;
	struct job *j;
};

/* As main does it: says that the target is the disk, and then lets the guest go on with it. */
static void *run_job(void *arg)
{
	struct control *c = arg;
	const struct blk_command complete = { .type = BLK_CMD_JOB_COMPLETE };
	const struct blk_command pivot = { .type = BLK_CMD_JOB_PIVOT };

	if (blk_dataplane_start_job(c->rig->dp, c->j->job) || job_answer(c->rig))
		_exit(2);
	c->sh->running = true;
	if (c->mode == BLK_COPY_BACKUP)
		return NULL;
	blk_dataplane_send(c->rig->dp, &complete, -1, RIG_WAIT_MS);
	while (blk_job_state(c->j->job) < BLK_JOB_HELD)
		usleep(100);
	if (blk_job_state(c->j->job) != BLK_JOB_HELD)
		_exit(3);
	c->sh->moved = true;
	blk_dataplane_send(c->rig->dp, &pivot, -1, RIG_WAIT_MS);
	c->sh->pivots++;
	return NULL;
}

static void child(struct shared *sh, enum blk_copy_mode mode, bool overlay, unsigned engine)
{
	static struct control c;
	pthread_t thread;

	c.rig = rig_new((struct rig_config){ .aio = engine, .overlay = overlay });
	c.sh = sh;
	c.mode = mode;
	c.j = job_new(c.rig, mode, 0);
	strcpy(sh->source, c.rig->path);
	strcpy(sh->target, c.j->path);
	pthread_create(&thread, NULL, run_job, &c);
	write_for_ever(c.rig, sh);
}

/* Every block as one of the writes left it that came with or after the last acknowledged one. */
static void verify(const struct shared *sh, const char *path)
{
	uint8_t *image = image_of(path), want[BLOCK];
	bool found;

	for (unsigned i = 0; i < BLOCKS; i++) {
		found = false;
		for (uint32_t gen = sh->acked[i]; gen <= sh->sent[i] && !found; gen++) {
			fill(want, i, gen);
			found = !memcmp(image + (size_t)i * BLOCK, want, BLOCK);
		}
		if (!found)
			fail_msg("block %u of the %s: acknowledged %u, sent %u", i,
				 path == sh->source ? "source" : "target", sh->acked[i],
				 sh->sent[i]);
	}
	free(image);
}

static void verify_base(const struct shared *sh)
{
	uint8_t *image = image_of(sh->source), want[BLOCK];

	for (unsigned i = 0; i < BLOCKS; i++) {
		fill(want, i, 0);
		if (memcmp(image + (size_t)i * BLOCK, want, BLOCK))
			fail_msg("block %u of the base was written", i);
	}
	free(image);
}

static void kill_one(struct shared *sh, enum blk_copy_mode mode, bool overlay, unsigned round)
{
	pid_t pid;
	int status;

	memset(sh, 0, sizeof(*sh));
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		child(sh, mode, overlay, round % 2);
	for (unsigned ms = 0; !sh->running; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		usleep(1000);
	}
	/* Half of the mirrors have moved by then, or are about to. */
	for (unsigned ms = 0; round % 4 >= 2 && !sh->moved && ms < RIG_WAIT_MS; ms++)
		usleep(1000);
	usleep(rand() % 30000);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	if (overlay)
		verify_base(sh);
	else
		verify(sh, sh->moved ? sh->target : sh->source);
	unlink(sh->source);
	unlink(sh->target);
}

static struct shared *new_shared(void)
{
	struct shared *sh =
		mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(sh != MAP_FAILED);
	srand(time(NULL));
	return sh;
}

static void a_mirror(void **state)
{
	struct shared *sh = new_shared();
	unsigned moved = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		kill_one(sh, BLK_COPY_MIRROR, false, i);
		moved += sh->moved;
	}
	assert_true(moved > 0);
	print_message("%u of %u had moved\n", moved, ROUNDS);
	munmap(sh, sizeof(*sh));
}

static void a_backup(void **state)
{
	struct shared *sh = new_shared();

	for (unsigned i = 0; i < ROUNDS / 2; i++)
		kill_one(sh, BLK_COPY_BACKUP, false, i % 2);
	munmap(sh, sizeof(*sh));
}

static void a_commit(void **state)
{
	struct shared *sh = new_shared();

	for (unsigned i = 0; i < ROUNDS / 2; i++)
		kill_one(sh, BLK_COPY_BACKUP, true, i % 2);
	munmap(sh, sizeof(*sh));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mirror),
		cmocka_unit_test(a_backup),
		cmocka_unit_test(a_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
