import subprocess,time
from bench.ingest_ratio import Streams
from bench.logging_service import logging_running
def main():
    with logging_running() as there, there.channel() as ch:
        s=Streams(there,ch,20000)
        s(); s.prepare(); s(); 
        pid=int(subprocess.run(["pgrep","-f","services.logging --config /tmp/kept-bench"],capture_output=True,text=True).stdout.split()[0])
        bs=[]
        for _ in range(5): s.prepare(); bs.append(s._batches)
        t=time.time()
        for b in bs[:2]: s._batches=b; s()
        print(40000/(time.time()-t))
        spy=subprocess.Popen(["/tmp/kept/spy/bin/py-spy","record","-d","8","-r","250","-f","raw","--nonblocking","--gil","-o","/tmp/kept/spy.raw","--pid",str(pid)],stderr=subprocess.DEVNULL)
        top=subprocess.Popen("top -b -n 2 -d 5 -w 200 -c| grep -E 'python|postgres' ",shell=True,stdout=open("/tmp/kept/top.txt","w"))
        t=time.time()
        for b in bs[2:]: s._batches=b; s()
        print(60000/(time.time()-t)); spy.wait()
if __name__=="__main__": main()
