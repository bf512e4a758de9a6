/* The time that a small UDP packet takes to another host and back. `udp-ping serve PORT` sends back what comes;
   `udp-ping ask ADDRESS PORT known|new BATCHES ROUNDS` prints the least of the batches' medians in nanoseconds:
   `known` over one flow, `new` with a flow for each packet. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return x < y ? -1 : x > y;
}

static int serve(int port) {
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return 1;
  puts("ready");
  fflush(stdout);
  for (;;) {
    char data[64];
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    ssize_t length = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &size);
    if (length > 0) sendto(fd, data, length, 0, (struct sockaddr *)&peer, size);
  }
}

static int open_flow(const struct sockaddr_in *peer, int own_port) {
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(own_port)};
  struct timeval patience = {.tv_sec = 2};
  int fd = socket(AF_INET, SOCK_DGRAM, 0), reuse = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return -1;
  return connect(fd, (const struct sockaddr *)peer, sizeof *peer) < 0 ? -1 : fd;
}

static int ask(const char *address, int port, int is_new, int batches, int rounds) {
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
  long *times = malloc(rounds * sizeof *times), least = -1;
  int next = 10000, fd = -1;
  inet_pton(AF_INET, address, &peer.sin_addr);
  for (int batch = 0; batch < batches; batch++) {
    for (int round = 0; round < rounds; round++) {
      char data[16] = "ping";
      if (fd < 0 && (fd = open_flow(&peer, next)) < 0) return 2;
      long start = now();
      if (send(fd, data, sizeof data, 0) < 0 || recv(fd, data, sizeof data, 0) < 0) return 3;
      times[round] = now() - start;
      if (!is_new) continue;
      close(fd);
      fd = -1;
      next = next >= 60000 ? 10000 : next + 1;
    }
    qsort(times, rounds, sizeof *times, compare);
    if (least < 0 || times[rounds / 2] < least) least = times[rounds / 2];
  }
  printf("%ld\n", least);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(atoi(argv[2]));
  if (argc == 7) return ask(argv[2], atoi(argv[3]), strcmp(argv[4], "new") == 0, atoi(argv[5]), atoi(argv[6]));
  return 64;
}
