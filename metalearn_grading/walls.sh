# Build a world with walls around it, and run a command there.
# Arguments: the new root, the folders to show, "--", the command. Nothing of the old root stays.
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o size=64m,nr_inodes=4096,mode=755,nosuid,nodev tmpfs "$root"
mkdir -p "$root/dev" "$root/proc" "$root/old" "$root/place"
chmod 1777 "$root/place"
ln -s place "$root/tmp"
for file in null zero urandom; do
    touch "$root/dev/$file"; mount --bind "/dev/$file" "$root/dev/$file"
done
while [ "$1" != -- ]; do
    if [ -L "$1" ]; then
        mkdir -p "$root$(dirname "$1")"; ln -s "$(readlink "$1")" "$root$1"
    elif [ -d "$1" ]; then
        mkdir -p "$root$1"; mount --rbind "$1" "$root$1"
    else
        mkdir -p "$root$(dirname "$1")"; cp "$1" "$root$1"
    fi
    shift
done
shift
awk -v root="$root/" 'index($5, root) == 1 && $5 !~ "^" root "dev/" {print $5}' \
    /proc/self/mountinfo | while read -r inside; do
    mount -o remount,bind,ro,nosuid,nodev "$inside"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
cd /place
exec "$@"
