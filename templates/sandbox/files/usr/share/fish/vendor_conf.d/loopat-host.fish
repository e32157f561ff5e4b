# A login shell adds directories to PATH, in the file of Debian beside this one: commands of the host come last, too.
set -l place (contains -i -- /loopat/control/bin $PATH); and set -e PATH[$place]
set -gx PATH $PATH /loopat/control/bin
