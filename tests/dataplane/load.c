/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A steady load on one disk, for looking at its thread from outside: not a test by itself, see
 * tests/lockfree/run.
 *
 *	load [-w] [-d DIR] [-o base|overlay|mixed] DEPTH REQUESTS [STRACE-SUMMARY]
 *
 * Keeps DEPTH random reads (-w: writes) of 4 KiB in flight on a file in DIR (/dev/shm) with Linux AIO,
 * as a guest does that takes interrupts; with -o below an overlay in the same place, which holds
 * nothing, all or every other block to begin with. Prints what the thread counts of its system calls
 * from the first to the last of REQUESTS, warmed up, and how many were done in a second; with a file
 * name, strace counts the calls at the same time, on that thread alone. Ends with 77 where there is no
 * direct I/O by Linux AIO, or no strace.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/dataplane/limited.h"
#include "virtio/blk/overlay.h"

#define BLOCK	  4096
#define MAX_DEPTH 256
#define WARM_UP	  2000

struct load {
	struct rig *rig;
	unsigned depth;
	uint32_t type;
	struct rig_req req[MAX_DEPTH];
	uint64_t seed;
};

/* The system calls of one disk's thread, by what it counts itself. */
struct calls {
	uint64_t submit, sleep, interrupt;
};

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void queue_one(struct load *load, unsigned slot)
{
	uint64_t block;

	load->seed = load->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	block = (load->seed >> 33) % (RIG_SIZE / BLOCK);
	if (rig_queue(load->rig, 0, &load->req[slot], load->type, block * (BLOCK / 512), BLOCK,
		      slot) < 0)
		die("queue full");
}

/* Takes all that is complete, waiting for the first, and queues each again while `more`. */
static unsigned turn_over(struct load *load, bool more)
{
	struct fake_done done;
	unsigned n = 0;

	if (!rig_wait(load->rig, 0, &done))
		die("no completion, no interrupt");
	do {
		if (done.cookie >= load->depth ||
		    rig_status(load->rig, &load->req[done.cookie]) != VIRTIO_BLK_S_OK)
			die("a wrong completion");
		n++;
		if (more)
			queue_one(load, done.cookie);
	} while (fake_queue_poll(&load->rig->drv[0], &done));
	rig_kick(load->rig, 0);
	return n;
}

static void run(struct load *load, unsigned requests)
{
	for (unsigned done = 0; done < requests;)
		done += turn_over(load, true);
}

static struct calls calls_now(const struct rig *rig)
{
	const struct blk_stats *stats = blk_dataplane_stats(rig->dp);

	return (struct calls){
		.submit = rig_stat(&stats->submits) + rig_stat(&stats->stalls),
		.sleep = rig_stat(&stats->sleeps),
		.interrupt = rig_stat(&stats->interrupts),
	};
}

static void measure(struct load *load, const char *how, unsigned requests)
{
	const struct calls from = calls_now(load->rig);
	const uint64_t begin = now_ns();
	struct calls to;
	uint64_t took;

	run(load, requests);
	took = now_ns() - begin;
	to = calls_now(load->rig);
	printf("%s requests %u io_submit %lu epoll_wait %lu write %lu\n", how, requests,
	       to.submit - from.submit, to.sleep - from.sleep, to.interrupt - from.interrupt);
	printf("rate %.0f\n", requests * 1e9 / took);
}

/* The first line of /proc/self/task/TID/NAME that begins with `key`, without it. */
static bool task_line(const char *tid, const char *name, const char *key, char *line, size_t size)
{
	char path[300];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", tid, name);
	f = fopen(path, "r");
	if (!f)
		return false;
	while (!found && fgets(line, (int)size, f))
		found = !strncmp(line, key, strlen(key));
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
	memmove(line, line + strlen(key), strlen(line + strlen(key)) + 1);
	return found;
}

/* The disk's thread by its name, as a user would find it. */
static const char *find_thread(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	char line[80], *tid;

	while (dir && (entry = readdir(dir))) {
		if (!task_line(entry->d_name, "comm", "", line, sizeof(line)) ||
		    strcmp(line, "blk-test"))
			continue;
		tid = strdup(entry->d_name);
		closedir(dir);
		return tid;
	}
	die("no thread blk-test");
	return NULL;
}

static pid_t start_strace(const char *tid, const char *summary)
{
	char line[80];
	pid_t pid;

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		execlp("strace", "strace", "-qq", "-c", "-o", summary, "-p", tid, NULL);
		_exit(77);
	}
	for (unsigned i = 0; i < RIG_WAIT_MS; i++) {
		if (task_line(tid, "status", "TracerPid:\t", line, sizeof(line)) && atoi(line))
			return pid;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			exit(77);
		usleep(1000);
	}
	exit(77);
}

static void measure_traced(struct load *load, unsigned requests, const char *summary)
{
	const pid_t pid = start_strace(find_thread(), summary);

	measure(load, "traced", requests);
	kill(pid, SIGINT);
	waitpid(pid, NULL, 0);
}

/* While its thread does not work yet: every `step`th block is in the overlay, 0: none. */
static void fill_overlay(struct rig *rig, unsigned step)
{
	static const _Alignas(BLOCK) uint8_t data[BLOCK];

	rig->be.overlay->reserves = true; /* as on disk, where that costs a look more */
	for (uint64_t at = 0; step && at < RIG_SIZE; at += step * BLOCK) {
		if (pwrite(rig->be.fd, data, BLOCK, at) != BLOCK)
			die("the overlay");
		blk_overlay_cover(rig->be.overlay, at, BLOCK);
	}
}

static struct rig *make_rig(const char *dir, const char *overlay)
{
	struct rig *rig = rig_new_stopped((struct rig_config){
		.dir = dir,
		.overlay = overlay,
		.overlay_dir = dir,
		.queue_size = MAX_DEPTH,
		.depth = MAX_DEPTH,
		.features = F_EVENT | F_INDIRECT,
	});

	if (rig->be.aio != DISK_AIO_NATIVE)
		exit(77);
	if (overlay)
		fill_overlay(rig, !strcmp(overlay, "mixed") ? 2 : !strcmp(overlay, "overlay"));
	if (rig_start(rig))
		die("start");
	return rig;
}

static void keep_in_flight(struct load *load, unsigned requests, const char *summary)
{
	for (unsigned i = 0; i < load->depth; i++) {
		load->req[i] = rig_req(load->rig, BLOCK);
		queue_one(load, i);
	}
	rig_kick(load->rig, 0);
	run(load, WARM_UP);
	measure(load, "alone", requests);
	if (summary)
		measure_traced(load, requests, summary);
	for (unsigned left = load->depth; left;)
		left -= turn_over(load, false);
}

int main(int argc, char **argv)
{
	struct load load = { .type = VIRTIO_BLK_T_IN, .seed = 1 };
	const char *overlay = NULL, *dir = "/dev/shm";
	unsigned requests = 0;
	int option;

	while ((option = getopt(argc, argv, "wd:o:")) > 0) {
		if (option == 'w')
			load.type = VIRTIO_BLK_T_OUT;
		else if (option == 'd')
			dir = optarg;
		else if (option == 'o')
			overlay = optarg;
	}
	argc -= optind;
	argv += optind;
	if (argc == 2 || argc == 3) {
		load.depth = strtoul(argv[0], NULL, 10);
		requests = strtoul(argv[1], NULL, 10);
	}
	if (!load.depth || load.depth > MAX_DEPTH || !requests) {
		fprintf(stderr, "usage: load [-w] [-d DIR] [-o base|overlay|mixed] DEPTH REQUESTS "
				"[STRACE-SUMMARY]\n");
		return 2;
	}
	load.rig = make_rig(dir, overlay);
	keep_in_flight(&load, requests, argc == 3 ? argv[2] : NULL);
	rig_free(load.rig);
	return 0;
}
