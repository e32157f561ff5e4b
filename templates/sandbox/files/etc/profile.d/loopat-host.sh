# A login shell begins with another PATH: commands of the host come last in it, too.
case :$PATH: in
  *:/loopat/control/bin:*) ;;
  *) PATH=$PATH:/loopat/control/bin ;;
esac
