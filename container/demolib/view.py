"""What is happening, for people: a picture that is redrawn on a terminal, or a line now and then in a log."""
import sys
import time

PLAIN_SECONDS = 5
BAR = 40


def human_bytes(count):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def clock(seconds):
    hours, rest = divmod(int(seconds), 3600)
    return (f"{hours}:" if hours else "") + f"{rest // 60:02}:{rest % 60:02}"


class Rates:
    """Change per second over the last few seconds."""

    def __init__(self, window=5):
        self.window = window
        self.samples = []

    def add(self, values):
        now = time.monotonic()
        self.samples.append((now, values))
        while len(self.samples) > 2 and now - self.samples[0][0] > self.window:
            self.samples.pop(0)

    def get(self, name):
        (first_time, first), (last_time, last) = self.samples[0], self.samples[-1]
        return max(0, last[name] - first[name]) / (last_time - first_time) if last_time > first_time else 0


class Snapshot:
    """One moment: the status of ebbfs in the terms of the view."""

    def __init__(self, status, written):
        files = status.get("files", {})
        disk = status.get("disk", {})
        self.answers = bool(status)
        self.written = written
        self.closed = files.get("closed", 0)
        self.settling = files.get("settling", 0)
        self.queued = files.get("queued", 0)
        self.uploading = files.get("uploading", 0)
        self.parked = files.get("parked", 0)
        self.in_s3 = files.get("uploaded", 0) + files.get("present", 0) + files.get("copied", 0)
        self.waiting = self.settling + self.queued + self.uploading
        self.bytes = status.get("bytes", {}).get("uploaded", 0)
        self.oldest = status.get("oldest_waiting_seconds") or 0
        self.uploader = status.get("uploader", "?")
        self.scan = status.get("scan", "?")
        self.passthrough = status.get("passthrough")
        self.last_error = status.get("last_error") or ""
        self.disk_total = disk.get("total", 0)
        self.disk_used = self.disk_total - disk.get("free", 0)

    def done_share(self):
        return self.in_s3 / (self.in_s3 + self.waiting) if self.in_s3 + self.waiting else 0


class View:
    def __init__(self, columns):
        self.columns = columns  # 0: no terminal
        self.started = time.monotonic()
        self.rates = Rates()
        self.drawn = 0
        self.next_line = 0
        self.last = Snapshot({}, None)

    def say(self, text):
        """A line that stays."""
        self.clear()
        print(text, flush=True)

    def clear(self):
        if self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def update(self, title, status, written, keys):
        """Call about once a second."""
        if status:
            self.last = Snapshot(status, written)
            self.rates.add({"in_s3": self.last.in_s3, "bytes": self.last.bytes, "written": written or 0})
        if not self.rates.samples:
            return
        if self.columns:
            self.draw(self.picture(title, self.last, bool(status), keys))
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + PLAIN_SECONDS
            print(self.line(title, self.last, bool(status)), flush=True)

    def draw(self, lines):
        self.clear()
        sys.stdout.write("".join(line[:self.columns - 1] + "\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)

    def line(self, title, now, answers):
        parts = [f"{clock(time.monotonic() - self.started)} {title}:", f"closed {now.closed}", f"settling {now.settling}", f"queued {now.queued + now.uploading}",
                 f"in S3 {now.in_s3}", f"{human_bytes(self.rates.get('bytes'))}/s",
                 f"oldest waiting {now.oldest:.1f} s", f"disk used {human_bytes(now.disk_used)}"]
        if now.written is not None:
            parts.insert(1, f"written {now.written}")
        if now.parked:
            parts.append(f"parked {now.parked}")
        if now.last_error:
            parts.append(f"last error: {now.last_error}")
        if not answers:
            parts.append("ebbfs does not answer")
        return "  ".join(parts)

    def writer_lines(self, now):
        if now.written is None:
            return []
        return [f"  writer     {now.written:>8} files written      {self.rates.get('written'):8.1f} files/s",
                "                 |"]

    def picture(self, title, now, answers, keys):
        filled = int(BAR * now.done_share())
        share = f"{100 * now.done_share():.0f}%"
        disk_share = 100 * now.disk_used / now.disk_total if now.disk_total else 0
        state = "serving" if answers else "NO ANSWER"
        lines = [
            "",
            f"  ebbfs demo   {clock(time.monotonic() - self.started)}   {title}",
            "",
            *self.writer_lines(now),
            f"  ebbfs      {now.closed:>8} files closed       {now.settling} settling, {now.queued} queued, "
            f"{now.uploading} uploading, {now.parked} parked",
            "                 |",
            f"  S3         {now.in_s3:>8} files proven       {self.rates.get('in_s3'):8.1f} files/s   "
            f"{human_bytes(self.rates.get('bytes'))}/s",
            f"             [{'#' * filled}{'.' * (BAR - filled)}] {share}",
            "",
            f"  oldest waiting {now.oldest:.1f} s    disk used {human_bytes(now.disk_used)} "
            f"({disk_share:.0f}% of {human_bytes(now.disk_total)})",
            f"  mount {state}, passthrough {'on' if now.passthrough else 'off'}, uploader {now.uploader}, "
            f"files from before: scan {now.scan}",
        ]
        if now.last_error:
            lines.append(f"  last error: {now.last_error}")
        lines += ["", "  latest in the bucket, by the server's own log:", *("    " + key for key in keys)]
        return lines
