/* libvirt's own C library under the same work as ours: `libvirt-peer URI WHAT COUNT DEPTH` makes COUNT calls, DEPTH of them at
   once (each from a thread of its own, as the library blocks), and prints the microseconds of wall and CPU time that one took. */
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static virConnectPtr connection;
static const char *what;
static long each;

static void die(const char *why) {
  fprintf(stderr, "%s: %s\n", why, virGetLastErrorMessage());
  exit(1);
}

static void call(void) {
  if (strcmp(what, "version") == 0) {
    unsigned long version;
    if (virConnectGetLibVersion(connection, &version) < 0) die(what);
  } else if (strcmp(what, "hostname") == 0) {
    char *name = virConnectGetHostname(connection);
    if (name == NULL) die(what);
    free(name);
  } else {
    virDomainStatsRecordPtr *records;
    if (virConnectGetAllDomainStats(connection, 0, &records, 0) < 0) die(what);
    virDomainStatsRecordListFree(records);
  }
}

static void *lane(void *unused) {
  for (long i = 0; i < each; i++) call();
  return unused;
}

static void lanes(long count, long depth) {
  pthread_t threads[64];
  each = count / depth + (count % depth != 0);
  for (long i = 0; i < depth; i++)
    if (pthread_create(&threads[i], NULL, lane, NULL) != 0) die("thread");
  for (long i = 0; i < depth; i++) pthread_join(threads[i], NULL);
}

static double microseconds(struct timeval time) {
  return time.tv_sec * 1e6 + time.tv_usec;
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

static double wall(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  connection = virConnectOpen(argv[1]);
  if (connection == NULL) die(argv[1]);
  what = argv[2];
  long count = atol(argv[3]), depth = atol(argv[4]);
  if (depth < 1 || depth > 64) return 2;
  lanes(count / 10 + 1, depth);
  double wall0 = wall(), cpu0 = cpu();
  lanes(count, depth);
  printf("{\"wallUs\": %.3f, \"cpuUs\": %.3f}\n", (wall() - wall0) / count, (cpu() - cpu0) / count);
  virConnectClose(connection);
  return 0;
}
