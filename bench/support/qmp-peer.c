/* The least that a QMP client can be: `qmp-peer SOCKET COMMAND COUNT DEPTH` executes a command COUNT times, DEPTH of them in
   flight, and prints the microseconds of wall and CPU time that one took. No checks: it counts the lines that hold a reply. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fd;
static char buffer[1 << 20];
/* Whether the line that is being read holds a reply: it spans reads. */
static size_t matched;
static int reply;

static void die(const char *what) {
  perror(what);
  exit(1);
}

/* Reads once, and counts the replies that ended. */
static long replies(void) {
  static const char mark[] = "\"return\"";
  ssize_t got = read(fd, buffer, sizeof buffer);
  long count = 0;
  if (got <= 0) die("read");
  for (ssize_t i = 0; i < got; i++) {
    if (buffer[i] == '\n') {
      count += reply;
      reply = 0;
      matched = 0;
    } else if (!reply) {
      matched = buffer[i] == mark[matched] ? matched + 1 : buffer[i] == mark[0];
      if (matched == sizeof mark - 1) reply = 1;
    }
  }
  return count;
}

static void put(const char *text, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, text, length);
    if (written < 0) die("write");
    text += written;
    length -= (size_t)written;
  }
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

static void execute(const char *command, long count, long depth) {
  char line[256];
  int length = snprintf(line, sizeof line, "{\"execute\": \"%s\", \"id\": 1}\n", command);
  long sent = 0, answered = 0;
  while (answered < count) {
    for (; sent < count && sent - answered < depth; sent++) put(line, (size_t)length);
    answered += replies();
  }
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 5) return 2;
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die(argv[1]);
  long count = atol(argv[3]), depth = atol(argv[4]);
  execute("qmp_capabilities", 1, 1);
  execute(argv[2], count / 10 + 1, depth);
  double wall0 = wall(), cpu0 = cpu();
  execute(argv[2], count, depth);
  printf("{\"wallUs\": %.3f, \"cpuUs\": %.3f}\n", (wall() - wall0) / count, (cpu() - cpu0) / count);
  return 0;
}
